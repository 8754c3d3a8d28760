/**
 * What Redis does for a log, each step as a script, so that nothing comes in between.
 *
 * A log is three keys in one slot. The stream holds the entries, each under the id `position-0`. The hash says what the
 * stream cannot: the epoch, the head, what was trimmed, and how many bytes are held. The sorted set knows which batches
 * and idempotency keys were appended lately, by position.
 *
 * Fields of an entry: `r` the record as JSON, `m` its tag, its size, its time (ms) and the tag of the entry before it, with
 * spaces between. They are one field, since each takes a follower time to read. Where an epoch begins, `e` stands in place
 * of `r`. By the tag before, who follows the stream sees that it goes on where it stood: after a loss, other entries may
 * have got the positions up to there and beyond.
 *
 * Lua writes whole numbers below 10^14 with all their digits. A log that takes a million entries a second gets there in
 * three years.
 *
 * @module
 */

/** A script and its SHA-1, by which Redis knows it once it was sent. */
export interface Script {
  /** Its text. */
  readonly text: string;
  /** Resolves to its SHA-1 in hexadecimal digits. */
  readonly sha: Promise<string>;
}

/** A script of this text. */
export function script(text: string): Script {
  return { text, sha: sha1(text) };
}

async function sha1(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Reads the hash, and begins a log where there is none. `ARGV[1]`: the epoch of a new one. */
const OPEN = `
local stream, meta, recent = KEYS[1], KEYS[2], KEYS[3]
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do if fields[i] == name then return fields[i + 1] end end
end
local function tagOf(entry)
  local m = field(entry, 'm')
  return m and string.match(m, '^%S+')
end
local function sizeOf(entry) return tonumber(string.match(field(entry, 'm'), ' (%d+) ')) end
local function timeOf(entry) return tonumber(string.match(field(entry, 'm'), '^%S+ %d+ (%d+)')) end
local function positionOf(entry) return tonumber(string.match(entry[1], '^%d+')) end
local known = redis.call('HMGET', meta, 'epoch', 'head', 'headTag', 'start', 'startTag', 'bytes', 'aged')
local epoch, head, headTag = known[1], tonumber(known[2]), known[3]
local start, startTag, bytes, aged = tonumber(known[4]), known[5], tonumber(known[6]), tonumber(known[7])
local function keep()
  redis.call('HSET', meta, 'epoch', epoch, 'head', tostring(head), 'headTag', headTag,
    'start', tostring(start), 'startTag', startTag, 'bytes', tostring(bytes),
    'aged', tostring(aged))
end
local function begin(name, after, tag)
  -- The entry says to who follows the stream that another epoch begins.
  epoch, head, headTag, start, startTag, bytes, aged = name, after + 1, tag, after + 1, tag, 0, now()
  redis.call('XADD', stream, head .. '-0', 'e', epoch, 'm', tag .. ' 0 ' .. tostring(aged) .. ' -')
  redis.call('XTRIM', stream, 'MINID', head .. '-0')
  redis.call('DEL', recent)
  keep()
end
if not epoch then
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if last and not tagOf(last) then
    return redis.error_reply('STREAMSIDE ' .. stream .. ' is a stream of something else')
  end
  begin(ARGV[1], last and positionOf(last) or 0, ARGV[2])
end
local function place() return { epoch, tostring(head), headTag, tostring(start), startTag } end
`;

/** Where the log stands, and the tag of the entry at a position. `ARGV[3]`: the position. */
export const LOOK: Script = script(`${OPEN}
local found = redis.call('XRANGE', stream, ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
return { place(), found and tagOf(found) or '' }
`);

/**
 * Begins another epoch, unless one began already. `ARGV[3]`: the epoch that has lost entries, `ARGV[4]`: the newest
 * position known of it.
 */
export const RENEW: Script = script(`${OPEN}
if epoch == ARGV[3] then begin(ARGV[1], math.max(head, tonumber(ARGV[4])), ARGV[2]) end
return place()
`);

/**
 * The entries after a position, and the tag of the one there. `ARGV[3]`: the position, `[4]`: how many at most. Fewer
 * come when they are large.
 */
export const READ: Script = script(`${OPEN}
local found = redis.call('XRANGE', stream, ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
local entries, size, after, left = {}, 0, ARGV[3] .. '-0', tonumber(ARGV[4])
while left > 0 and size < 1048576 do
  local page = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', math.min(left, 32))
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    table.insert(entries, entry)
    size = size + sizeOf(entry)
    after = entry[1]
  end
  left = left - #page
end
return { place(), found and tagOf(found) or '', entries }
`);

/**
 * Appends a batch, and trims. `ARGV[3]`: how many events are held, `[4]`: bytes, `[5]`: ms, `[6]`: how many batches and
 * keys are known, `[7]`: the name of the batch, `[8]`: of the one that has to stand before it, if any. Then for each
 * record: its tag, its size, its JSON, its idempotency key.
 *
 * Answers the position before the first of those that it appended, and which of the records stood there already, with
 * their places.
 *
 * What is trimmed in one call is bounded: the rest goes with the next. The newest entry stays, so that it can be
 * followed whatever the bounds are. Ages are looked at a hundred times within the longest.
 */
export const APPEND: Script = script(`${OPEN}
local maxEvents, maxBytes, maxAge, maxRecent = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local batch, time, count, others = 'b' .. ARGV[7], tostring(now()), 0, {}
if ARGV[8] ~= '' and not redis.call('ZSCORE', recent, 'b' .. ARGV[8]) then
  return redis.error_reply('LATER the batch before it has not come yet')
end
local earlier = tonumber(redis.call('ZSCORE', recent, batch) or nil)
local before = earlier and earlier - 1 or head
local position = before
if not earlier then
  redis.call('ZADD', recent, head + 1, batch)
  redis.call('ZREMRANGEBYRANK', recent, 0, -maxRecent - 1)
end
for i = 9, #ARGV, 4 do
  local key = ARGV[i + 3]
  local known = key ~= '' and tonumber(redis.call('ZSCORE', recent, 'k' .. key) or nil)
  if known and known ~= position + 1 then
    local found = redis.call('XRANGE', stream, known .. '-0', known .. '-0')[1]
    others[#others + 1] = { (i - 9) / 4, tostring(known), found and tagOf(found) or '' }
  else
    position = position + 1
    if not earlier then
      if key ~= '' then redis.call('ZADD', recent, position, 'k' .. key) end
      redis.call('XADD', stream, position .. '-0', 'r', ARGV[i + 2],
        'm', ARGV[i] .. ' ' .. ARGV[i + 1] .. ' ' .. time .. ' ' .. headTag)
      count, bytes = count + 1, bytes + ARGV[i + 1]
      headTag = ARGV[i]
    end
  end
end
time = tonumber(time)
if count > 0 then
  head = position
  local length = redis.call('XLEN', stream)
  if length > maxEvents or bytes > maxBytes or time - aged > maxAge / 100 then
    local left, done = count + 500, false
    while not done and left > 0 do
      local cut
      for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', math.min(left, 50))) do
        done = length == 1 or
          not (length > maxEvents or bytes > maxBytes or timeOf(entry) < time - maxAge)
        if done then break end
        cut, startTag = positionOf(entry), tagOf(entry)
        bytes, length, left = bytes - sizeOf(entry), length - 1, left - 1
      end
      if cut then
        start = cut
        redis.call('XTRIM', stream, 'MINID', (cut + 1) .. '-0')
      end
    end
    if done then aged = time end
  end
  keep()
end
return { place(), tostring(before), others }
`);
