/**
 * Where the application listens: on this machine and nowhere else, unless `HOST` says otherwise.
 *
 * @module
 */
import process from "node:process";

/** `HOST`, or 127.0.0.1. */
export const host: string = process.env.HOST || "127.0.0.1";

/** `PORT`, or 8080. 0 is any that is free. */
export const port: number = Number(process.env.PORT || 8080);

/** Says where it listens. */
export function announce(port: number): void {
  const everywhere = host === "0.0.0.0" || host === "::";
  const name = everywhere ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  const reach = everywhere ? ", and on every other address of this machine" : "";
  console.log(`Streamside is on http://${name}:${port}${reach}`);
}
