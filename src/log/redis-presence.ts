/**
 * Who is online, by Redis.
 *
 * All keys are in the log's slot. The sorted set `presence` has the servers, each with the time at which its lease ends,
 * by Redis's clock. Each server has a hash of its own, with its sessions and their channels as JSON. The stream
 * `presence:changes` has what was said in the last minute, so that who asks every second gets what is new and no more.
 *
 * What a server says is one script, and so one round trip, for as many sessions as have changed; who has not asked for
 * longer than a minute reads the hashes. Everything is gone a minute after the last server.
 *
 * @module
 */

import {
  PRESENCE_MEMORY,
  type PresenceAnswer,
  type PresenceLog,
  type PresenceUpdate,
  type SessionPresence,
} from "./presence-log.ts";
import { type Script, script } from "./redis-scripts.ts";

/** How long changes are held, in ms, and everything of a server that is not heard of. */
const HELD = 60_000;
/** How many sessions one script takes: what Lua can hand over in one call is bounded. */
const BATCH = 500;
/** How many changes one script answers with. */
const PAGE = 500;

/** Runs a script with these keys and arguments. */
export type Run = (
  script: Script,
  keys: readonly string[],
  args: readonly string[],
) => Promise<unknown>;

/**
 * What a server says, and what was said since.
 *
 * `ARGV[1]`: the server, `[2]`: what it says: `all`, `more`, `left`, or nothing, `[3]`: its lease, `[4]`: how long changes
 * are held, `[5]`: the id after which changes are asked for; `*` for all there is; else nothing. `[6]`: how long ago the
 * changes began that come with all there is, `[7]`: how many changes are answered. All times in ms. Then pairs of a
 * session and its channels, which are empty if it has gone.
 *
 * Answers whether the server is known, whether what was asked for begins anew, the newest id, the changes, and, if it
 * begins anew, the servers.
 */
const EXCHANGE: Script = script(`
local servers, own, changes = KEYS[1], KEYS[2], KEYS[3]
local server, says, lease, held, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function newest()
  local last = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
  return last and last[1]
end
local function say(...)
  -- The newest one stays, so that who has read it is known to have read all.
  local oldest, last = now - held, newest()
  if last then oldest = math.min(oldest, tonumber(string.match(last, '^%d+'))) end
  redis.call('XADD', changes, 'MINID', string.format('%.0f', oldest), '*', ...)
end
for _, other in ipairs(redis.call('ZRANGEBYSCORE', servers, '-inf', string.format('(%.0f', now))) do
  -- Who speaks now is there.
  if other ~= server then
    redis.call('ZREM', servers, other)
    say(other, 'lost')
  end
end
local known = redis.call('ZSCORE', servers, server)
if says == 'left' then
  if known then
    if #ARGV > 7 then say(server, 'more', unpack(ARGV, 8)) end
    say(server, 'left')
    redis.call('ZREM', servers, server)
    redis.call('DEL', own)
  end
  known = true
elseif says ~= '' and (says == 'all' or known) then
  if says == 'all' then redis.call('DEL', own) end
  for i = 8, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', own, ARGV[i])
    else redis.call('HSET', own, ARGV[i], ARGV[i + 1]) end
  end
  if says == 'all' or #ARGV > 7 then say(server, says, unpack(ARGV, 8)) end
  redis.call('ZADD', servers, now + lease, server)
  redis.call('PEXPIRE', own, lease + held)
  known = true
end
redis.call('PEXPIRE', servers, lease + held)
redis.call('PEXPIRE', changes, lease + held)
if after == '' then return { known and 1 or 0, 0, '', {} } end
local head = newest() or ''
if after ~= '*' and #redis.call('XRANGE', changes, after, after) > 0 then
  local found = redis.call('XRANGE', changes, '(' .. after, '+', 'COUNT', ARGV[7])
  local last = found[#found]
  return { known and 1 or 0, 0, last and last[1] or after, found }
end
local recent = redis.call('XRANGE', changes, string.format('%.0f', now - tonumber(ARGV[6])), '+')
return { known and 1 or 0, 1, head, recent, redis.call('ZRANGE', servers, 0, -1) }
`);

/** Some sessions of a server: `ARGV[1]`: where to go on, `[2]`: about how many. */
const SCAN: Script = script(`return redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])`);

/** The presence of a {@link redisLog}. */
export class RedisPresence implements PresenceLog {
  readonly #name: string;
  readonly #run: Run;

  /** `name`: what the log's keys begin with. */
  constructor(name: string, run: Run) {
    this.#name = name;
    this.#run = run;
  }

  async exchange(update: PresenceUpdate, lease: number, since?: unknown): Promise<PresenceAnswer> {
    const { server, isWhole, sessions, gone } = update;
    let says = isWhole ? "all" : "more";
    let at = 0;
    for (; sessions.length - at > BATCH; at += BATCH, says = "more") {
      await this.#say(server, says, lease, "", sessions.slice(at, at + BATCH));
    }
    if (gone !== undefined) says = "left";
    const after = since === undefined ? "" : since === null ? "*" : String(since);
    const answer = await this.#say(server, says, lease, after, sessions.slice(at));
    const isKnown = Number(answer[0]) === 1;
    if (after === "") return { isKnown, isAnew: false, updates: [], left: [] };
    return {
      isKnown,
      ...await (Number(answer[1]) === 1 ? this.#all(answer) : this.#rest(server, answer)),
    };
  }

  /** Everything there is. What was said after the answer comes with the next one, and changes nothing then. */
  async #all(
    [, , cursor, recent, servers]: Answer,
  ): Promise<Omit<PresenceAnswer, "isKnown">> {
    const updates = await Promise.all(servers!.map((server) => this.#sessionsOf(server)));
    const left = recent.map(updateOf).flatMap(({ sessions }) =>
      sessions.filter(({ channels }) => channels === undefined).map(({ session }) => session)
    );
    // Where nothing was ever said there is nothing to ask with.
    return { cursor: cursor === "" ? null : cursor, isAnew: true, updates, left };
  }

  /** What has changed, page by page. */
  async #rest(server: string, first: Answer): Promise<Omit<PresenceAnswer, "isKnown">> {
    const updates: PresenceUpdate[] = [];
    for (let answer = first;;) {
      const [, , cursor, changes] = answer;
      for (const change of changes) updates.push(updateOf(change));
      if (changes.length < PAGE) return { cursor, isAnew: false, updates, left: [] };
      answer = await this.#say(server, "", 0, cursor, []);
      // They were trimmed meanwhile.
      if (Number(answer[1]) === 1) return await this.#all(answer);
    }
  }

  async #sessionsOf(server: string): Promise<PresenceUpdate> {
    const sessions = new Map<string, SessionPresence>();
    for (let cursor = "0";;) {
      const [next, fields] = await this.#run(SCAN, [this.#keyOf(server)], [cursor, "1000"]) as [
        string,
        string[],
      ];
      for (let i = 0; i < fields.length; i += 2) {
        sessions.set(fields[i]!, presenceOf(fields[i]!, fields[i + 1]!));
      }
      cursor = next;
      if (cursor === "0") return { server, isWhole: true, sessions: [...sessions.values()] };
    }
  }

  #say(
    server: string,
    says: string,
    lease: number,
    after: string,
    sessions: readonly SessionPresence[],
  ): Promise<Answer> {
    const keys = [`${this.#name}:presence`, this.#keyOf(server), this.#keyOf("changes")];
    const args = [server, says, `${lease}`, `${HELD}`, after, `${PRESENCE_MEMORY}`, `${PAGE}`];
    for (const { session, channels } of sessions) {
      args.push(session, channels === undefined ? "" : JSON.stringify(channels));
    }
    return this.#run(EXCHANGE, keys, args) as Promise<Answer>;
  }

  #keyOf(part: string): string {
    return `${this.#name}:presence:${part}`;
  }
}

/** What {@link EXCHANGE} answers. */
type Answer = [
  isKnown: unknown,
  isAnew: unknown,
  cursor: string,
  changes: [id: string, fields: string[]][],
  servers?: string[],
];

/** A change of the stream: the server and what it says, then pairs of a session and its channels. */
function updateOf([, [server, says, ...pairs]]: [id: string, fields: string[]]): PresenceUpdate {
  const sessions: SessionPresence[] = [];
  for (let i = 0; i < pairs.length; i += 2) sessions.push(presenceOf(pairs[i]!, pairs[i + 1]!));
  const gone = says === "left" || says === "lost" ? says : undefined;
  return { server: server!, isWhole: says === "all", sessions, gone };
}

function presenceOf(session: string, channels: string): SessionPresence {
  return channels === "" ? { session } : { session, channels: JSON.parse(channels) };
}
