// The load client: N event streams over loopback from one process, which costs so little that a server on another core
// is what gets measured. It counts events and bytes, and takes the latency of a sample.
//
//   sseload port path connections inflight sample stalled expect [header]
//
// path: `%d` in it becomes the connection's number. inflight: how many may wait for their head at a time. sample: the
// latency of the first event in one read of so many. stalled: how many connections never read again once they are open.
// expect: a connection that has got so many events has caught up (0: nobody looks). header: one more request header, or
// `@file`: a file with a line for each connection.
//
// An event is counted by its stamp: `@`, 19 digits (when it was sent, ns since the epoch), `@`. Nothing else that is
// sent may hold an `@`, and the preambles and heartbeats of a server don't count.
//
// It says `{"ready":…}` when all are open, and then does what it reads, a line each:
//   mark          count from here
//   wait E S      report when E events have come since the mark, or after S seconds
//   report        report now
// It ends when its input ends.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STDIN_TAG UINT32_MAX
#define MAX_SAMPLES 4000000

typedef struct {
  int fd;
  char asked, open, stalled;
  uint64_t stamps;    // how many `@` in all
  uint64_t marked;    // and at the mark
  uint64_t caught_ns; // when it had got what it expects
} Conn;

static Conn *conns;
static struct sockaddr_in server;
static char buffer[1 << 18];
static uint64_t *samples, sample_count, reads;
static uint64_t stamps, bytes, marked_stamps, first_ns, last_ns, mark_ns, start_ns;
static uint64_t wait_events, wait_until;
static int epoll, total, opened, closed, caught, sample_every, stalled, waiting;
static uint64_t expect;
static const char *path, **headers;

static void read_headers(const char *header) {
  headers = calloc(total, sizeof *headers);
  for (int i = 0; i < total; i++) headers[i] = *header == '@' ? "" : header;
  if (*header != '@') return;
  FILE *file = fopen(header + 1, "r");
  if (!file) { perror(header + 1); exit(2); }
  char line[512];
  for (int i = 0; i < total && fgets(line, sizeof line, file); i++) {
    line[strcspn(line, "\r\n")] = 0;
    headers[i] = strdup(line);
  }
  fclose(file);
}

static uint64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}
static void fail(const char *what) {
  fprintf(stderr, "sseload: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
static double marked_cpu;

static void mark(void) {
  for (int i = 0; i < total; i++) conns[i].marked = conns[i].stamps;
  marked_stamps = stamps;
  sample_count = 0;
  bytes = 0;
  first_ns = last_ns = 0;
  mark_ns = now_ns(CLOCK_MONOTONIC);
  marked_cpu = cpu_seconds();
}

static void report(void) {
  uint64_t least = UINT64_MAX, most = 0;
  for (int i = stalled; i < total; i++) {
    uint64_t got = (conns[i].stamps - conns[i].marked) / 2;
    if (got < least) least = got;
    if (got > most) most = got;
  }
  qsort(samples, sample_count, sizeof *samples, by_value);
#define AT(q) (sample_count ? samples[(size_t)((sample_count - 1) * (q))] / 1e6 : 0)
  uint64_t last_caught = 0;
  for (int i = 0; i < total; i++)
    if (conns[i].caught_ns > last_caught) last_caught = conns[i].caught_ns;
  printf("{\"events\":%lu,\"bytes\":%lu,\"seconds\":%.6f,\"sinceMark\":%.6f,\"least\":%lu,\"most\":%lu,\"closed\":%d,"
         "\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f,\"samples\":%lu,\"cpu\":%.4f,\"caught\":%d,\"caughtSeconds\":%.6f}\n",
         (stamps - marked_stamps) / 2, bytes, (last_ns - first_ns) / 1e9, (last_ns > mark_ns ? last_ns - mark_ns : 0) / 1e9,
         least == UINT64_MAX ? 0 : least, most, closed, AT(0.5), AT(0.99), AT(1.0), sample_count, cpu_seconds() - marked_cpu,
         caught, last_caught ? (last_caught - start_ns) / 1e9 : 0);
  fflush(stdout);
}

static void begin(int i) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  if (fd < 0) fail("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  // One source address has too few ports for tens of thousands of connections.
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  struct sockaddr_in from = {.sin_family = AF_INET};
  char address[32];
  snprintf(address, sizeof address, "127.0.%d.%d", 1 + i / 20000, 1 + (i / 200) % 100);
  inet_pton(AF_INET, address, &from.sin_addr);
  if (bind(fd, (void *)&from, sizeof from)) fail("bind");
  if (connect(fd, (void *)&server, sizeof server) && errno != EINPROGRESS) fail("connect");
  conns[i].fd = fd;
  struct epoll_event e = {.events = EPOLLOUT, .data.u32 = i};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static void ask(int i) {
  char target[512], request[2048];
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(conns[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) { errno = error; fail("connect"); }
  snprintf(target, sizeof target, path, i);
  int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n%s%s\r\n", target,
                   ntohs(server.sin_port), headers[i], *headers[i] ? "\r\n" : "");
  if (write(conns[i].fd, request, n) != n) fail("write");
  conns[i].asked = 1;
  struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
  epoll_ctl(epoll, EPOLL_CTL_MOD, conns[i].fd, &e);
}

static void sample(ssize_t n) {
  for (char *at = buffer, *end = buffer + n; (at = memchr(at, '@', end - at)); at++) {
    if (end - at <= 20) return;
    if (at[20] != '@') continue;
    uint64_t sent = strtoull(at + 1, 0, 10), now = now_ns(CLOCK_REALTIME);
    if (now > sent && sample_count < MAX_SAMPLES) samples[sample_count++] = now - sent;
    return;
  }
}

static void take(int i) {
  Conn *c = &conns[i];
  ssize_t n = read(c->fd, buffer, sizeof buffer - 1);
  if (n <= 0) {
    if (n < 0 && errno == EAGAIN) return;
    if (!c->open) { fprintf(stderr, "sseload: connection %d closed before its head\n", i); exit(1); }
    close(c->fd);
    closed++;
    return;
  }
  if (!c->open) {
    if (strncmp(buffer, "HTTP/1.1 200", 12)) { buffer[n] = 0; fprintf(stderr, "sseload: %.200s\n", buffer); exit(1); }
    c->open = 1;
    opened++;
    if (i < stalled) { c->stalled = 1; epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, 0); }
  }
  uint64_t count = 0;
  for (ssize_t k = 0; k < n; k++) count += buffer[k] == '@';
  bytes += n;
  if (!count) return;
  stamps += count;
  c->stamps += count;
  last_ns = now_ns(CLOCK_MONOTONIC);
  if (!first_ns) first_ns = last_ns;
  if (expect && !c->caught_ns && c->stamps / 2 >= expect) { c->caught_ns = last_ns; caught++; }
  if (++reads % sample_every == 0) sample(n);
}

static void obey(void) {
  static char line[256];
  static size_t length;
  ssize_t n = read(0, line + length, sizeof line - 1 - length);
  if (n <= 0) exit(0);
  length += n;
  line[length] = 0;
  for (char *end; (end = strchr(line, '\n'));) {
    *end = 0;
    double seconds;
    if (!strcmp(line, "mark")) mark(), printf("{\"marked\":true}\n"), fflush(stdout);
    else if (!strcmp(line, "report")) report();
    else if (sscanf(line, "wait %lu %lf", &wait_events, &seconds) == 2) {
      waiting = 1;
      wait_until = now_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
    } else { fprintf(stderr, "sseload: what is \"%s\"?\n", line); exit(2); }
    length -= end + 1 - line;
    memmove(line, end + 1, length + 1);
  }
}

static void turn(int timeout) {
  struct epoll_event events[512];
  int n = epoll_wait(epoll, events, 512, timeout);
  for (int k = 0; k < n; k++) {
    uint32_t i = events[k].data.u32;
    if (i == STDIN_TAG) obey();
    else if (!conns[i].asked) ask(i);
    else take(i);
  }
}

int main(int argc, char **argv) {
  if (argc < 8) { fprintf(stderr, "sseload port path connections inflight sample stalled expect [header]\n"); return 2; }
  server.sin_family = AF_INET;
  server.sin_port = htons(atoi(argv[1]));
  inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
  path = argv[2];
  total = atoi(argv[3]);
  int inflight = atoi(argv[4]);
  sample_every = atoi(argv[5]);
  stalled = atoi(argv[6]);
  expect = strtoull(argv[7], 0, 10);
  read_headers(argc > 8 ? argv[8] : "");
  conns = calloc(total, sizeof *conns);
  samples = malloc(MAX_SAMPLES * sizeof *samples);
  epoll = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.u32 = STDIN_TAG};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &e);

  start_ns = now_ns(CLOCK_MONOTONIC);
  uint64_t deadline = start_ns + 60000000000ull;
  for (int begun = 0; opened < total;) {
    while (begun < total && begun - opened < inflight) begin(begun++);
    turn(1000);
    if (now_ns(CLOCK_MONOTONIC) > deadline) { fprintf(stderr, "sseload: %d of %d open after 60 s\n", opened, total); return 1; }
  }
  double seconds = (now_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
  printf("{\"ready\":%d,\"seconds\":%.6f}\n", opened, seconds);
  fflush(stdout);
  mark_ns = now_ns(CLOCK_MONOTONIC);
  for (;;) {
    turn(waiting ? 20 : -1);
    if (waiting && ((stamps - marked_stamps) / 2 >= wait_events || now_ns(CLOCK_MONOTONIC) >= wait_until)) {
      waiting = 0;
      report();
    }
  }
}
