/**
 * A certificate for localhost that tests serve TLS with, and its key: good for nothing else, and signed by nobody.
 *
 * Made with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost`.
 *
 * @module
 */

/** Its private key, in PEM. */
export const key: string = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQl8Cni4cto7Aapn/
TB65qlNzgfHSYohJczeA8cpW+HKhRANCAAQJKu1PlkeeZSMDltJyhSMboHmpcnBZ
HWgoWYJ0jtS1OWQL1ImUX5+SdPOv1DMIqeE8oY4qBKzrwnV4AeHa30Xl
-----END PRIVATE KEY-----
`;

/** The certificate, in PEM. */
export const cert: string = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUY9f3HbFr7qe7/U1vGpo1yNLglCMwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzIzMDYxMVoYDzIxMjYxMDMw
MjMwNjExWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQJKu1PlkeeZSMDltJyhSMboHmpcnBZHWgoWYJ0jtS1OWQL1ImUX5+S
dPOv1DMIqeE8oY4qBKzrwnV4AeHa30Xlo28wbTAdBgNVHQ4EFgQUqZcoW0UUAR5a
IG60l+AIIRVePskwHwYDVR0jBBgwFoAUqZcoW0UUAR5aIG60l+AIIRVePskwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgAjxpPNrauixQ32VnARgwzzTT4HNwUZYorSvWbKYrKn4CIQDU
sNDVSbWd+SKoQ5Q1wMHARr45o4gZf6BYsU9eF0Iw+g==
-----END CERTIFICATE-----
`;
