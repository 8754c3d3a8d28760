/**
 * What Redis does for the runs of a log, each step as a script, so that nothing comes in between.
 *
 * The runs are apart from the log, in keys of the same slot, whose names begin with that of the first:
 *
 * - `{log}:runs` is a stream of what followers are told, a batch in each entry. It is short: who comes too late lists the
 *   runs anew.
 * - `…:state`, a hash, has its head, how many runs began, and how many bytes are held.
 * - `…:order`, `…:ended` and `…:sizes`, sorted sets of runs, say which began first, which ended when, and what each takes.
 * - `…:run:ID`, a hash, is a run; `…:run:ID:events`, a stream, has its events, each under the id `number-0`.
 * - `…:channel:NAME`, a sorted set, has the runs of a channel.
 *
 * All of them expire: what is of a run some time after its end, and all else when nothing was appended for a day. So a log
 * that nobody uses leaves nothing, and one that is used renews them. The names of some keys are made here, since only Redis
 * knows which run is to go: in a cluster they are where the others are.
 *
 * @module
 */

import { type Script, script } from "./redis-scripts.ts";

/** What a run takes in Redis besides its events, in bytes. */
const RUN_BYTES = 1_024;
/** What an event takes besides its text, in bytes. */
const EVENT_BYTES = 100;

/** `ARGV[1]`: how long a run is held after its end, in ms, `[2]`: how long what nobody uses is held. */
const OPEN = `
local tail, state, order, ended, sizes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local age, idle = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function keyOf(run) return tail .. ':run:' .. run end
local function eventsOf(run) return tail .. ':run:' .. run .. ':events' end
local function channelOf(name) return tail .. ':channel:' .. name end
local known = redis.call('HMGET', state, 'head', 'headTag', 'bytes', 'begun', 'total', 'renewed')
local head, headTag, bytes = tonumber(known[1] or 0), known[2] or '', tonumber(known[3] or 0)
local begun, total, renewed = tonumber(known[4] or 0), tonumber(known[5] or 0), tonumber(known[6] or 0)
-- Without it, what the others say is of a log that was lost. Which runs there are, the order says.
if not known[1] then redis.call('DEL', tail, order, ended, sizes) end
local function forget(run)
  local channel = redis.call('HGET', keyOf(run), 'channel')
  if channel then redis.call('ZREM', channelOf(channel), run) end
  redis.call('DEL', keyOf(run), eventsOf(run))
  total = total - tonumber(redis.call('ZSCORE', sizes, run) or 0)
  for _, set in ipairs({ order, ended, sizes }) do redis.call('ZREM', set, run) end
end
local function forgetOld()
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', now - tonumber(age), 'LIMIT', 0, 100)) do
    forget(run)
  end
end
local function keep()
  if redis.call('ZCARD', sizes) == 0 then total = 0 end
  redis.call('HSET', state, 'head', tostring(head), 'headTag', headTag, 'bytes', tostring(bytes),
    'begun', tostring(begun), 'total', tostring(total), 'renewed', tostring(renewed))
end
local function renew()
  renewed = now
  keep()
  for _, key in ipairs({ state, order, ended, sizes }) do redis.call('PEXPIRE', key, idle) end
end
`;

/** Where the stream for followers stands, and whether all that comes after a place is in it. `ARGV[3]`: the place, `[4]`: its tag. */
export const LOOK_AT_RUNS: Script = script(`${OPEN}
local after, tag = tonumber(ARGV[3]), ARGV[4]
local isHeld = after == head and tag == headTag
local newest = redis.call('XREVRANGE', tail, '+', '-', 'COUNT', 1)[1]
-- Somebody else wrote there.
if newest and tonumber(string.match(newest[1], '^%d+')) > head then redis.call('DEL', tail) end
if after < head then
  local following = redis.call('XRANGE', tail, (after + 1) .. '-0', (after + 1) .. '-0', 'COUNT', 1)[1]
  if following then
    local fields = following[2]
    for i = 1, #fields, 2 do if fields[i] == 'p' then isHeld = fields[i + 1] == tag end end
  end
end
return { isHeld and 1 or 0, tostring(head), headTag }
`);

/**
 * The runs of a channel, or a page of all. `ARGV[3]`: the channel, or an empty string, `[4]`: as which the last run began
 * that the page before had.
 *
 * Answers as which the last of this page began, and each run, its channel, its beginning, its events, and its end: the
 * code, an empty string for a complete one, `-` for none.
 */
export const LIST_RUNS: Script = script(`${OPEN}
local before = total
forgetOld()
local channel, last, found, runs = ARGV[3], ARGV[4], {}, nil
if channel ~= '' then runs = redis.call('ZRANGE', channelOf(channel), 0, -1, 'WITHSCORES')
else runs = redis.call('ZRANGEBYSCORE', order, '(' .. last, '+inf', 'WITHSCORES', 'LIMIT', 0, 500) end
for i = 1, #runs, 2 do
  last = runs[i + 1]
  local run = redis.call('HMGET', keyOf(runs[i]), 'channel', 'since', 'events', 'end')
  if not redis.call('ZSCORE', order, runs[i]) then run[1] = false end
  if run[1] then found[#found + 1] = { runs[i], run[1], run[2], run[3], run[4] or '-' } else forget(runs[i]) end
end
if total ~= before then keep() end
return { last, found }
`);

/**
 * The channel of a run, and events. `KEYS[1]`: its hash, `[2]`: its stream, `ARGV[1]`: they come after this number, `[2]`:
 * how many at most. Fewer come when they are large.
 */
export const READ_RUN: Script = script(`
local entries, size, after, left = {}, 0, ARGV[1] .. '-0', tonumber(ARGV[2])
while left > 0 and size < 1048576 do
  local page = redis.call('XRANGE', KEYS[2], '(' .. after, '+', 'COUNT', math.min(left, 32))
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    entries[#entries + 1] = entry
    size = size + #entry[2][2]
    after = entry[1]
  end
  left = left - #page
end
return { redis.call('HGET', KEYS[1], 'channel') or '', entries }
`);

/**
 * Appends records, each for itself, and trims. `ARGV[3]`: how many events of a run are held, `[4]`: bytes of a run,
 * `[5]`: bytes of all, `[6]`: bytes for followers, `[7]`: for how long these are held, in ms, `[8]`: the tag of what
 * followers are told. Then for each record: its tag, its type, its run, its channel, its number, its JSON in two parts, and
 * its time if it is a beginning, or the code if it is an end.
 *
 * Answers 1 or 0 for each: whether its run goes on with it.
 *
 * An end is known again by its tag, so that it may be appended again if the answer was lost.
 */
export const APPEND_TO_RUNS: Script = script(`${OPEN}
local maxEvents, maxBytes, maxTotal = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local answers, told, cache, grown, isNew = {}, {}, {}, {}, not known[1]
local function load(id)
  if cache[id] == nil then
    local f = redis.call('HMGET', keyOf(id), 'channel', 'events', 'end', 'endTag', 'renewed')
    cache[id] = f[1] and redis.call('ZSCORE', order, id) and
      { channel = f[1], events = tonumber(f[2]), ended = f[3], endTag = f[4], renewed = tonumber(f[5]) } or false
  end
  return cache[id]
end
local function resize(id, change)
  redis.call('ZINCRBY', sizes, change, id)
  total = total + change
end
local function expire(id, channel, ms)
  for _, key in ipairs({ keyOf(id), eventsOf(id), channelOf(channel) }) do redis.call('PEXPIRE', key, ms) end
end
local function begin(id, channel, since)
  local newest = redis.call('ZREVRANGE', channelOf(channel), 0, 0)[1]
  local run = newest and load(newest)
  if run and not run.ended then return newest == id, false end
  -- An id means one run for ever.
  if load(id) then return false, false end
  begun, isNew = begun + 1, true
  redis.call('HSET', keyOf(id), 'channel', channel, 'since', since, 'events', '0', 'renewed', tostring(now))
  redis.call('ZADD', order, begun, id)
  redis.call('ZADD', channelOf(channel), begun, id)
  resize(id, ${RUN_BYTES})
  expire(id, channel, idle)
  cache[id] = { channel = channel, events = 0, ended = false, renewed = now }
  return true, true
end
local function append(id, number, body)
  local run = load(id)
  if number <= run.events then return true, false end
  redis.call('XADD', eventsOf(id), number .. '-0', 'd', '{' .. body .. '}')
  if run.events == 0 then redis.call('PEXPIRE', eventsOf(id), idle) end
  run.events = number
  grown[id] = (grown[id] or 0) + #body + ${EVENT_BYTES}
  return true, true
end
local function finish(id, tag, code)
  local run = load(id)
  run.ended, run.endTag, isNew = code, tag, true
  redis.call('HSET', keyOf(id), 'end', code, 'endTag', tag)
  redis.call('ZADD', ended, now, id)
  expire(id, run.channel, age)
  return true, true
end
local function take(tag, kind, id, channel, number, body, more)
  if kind == 'begin' then return begin(id, channel, more) end
  local run = load(id)
  if not run or run.channel ~= channel then return false, false end
  if run.ended then return kind == 'end' and run.endTag == tag, false end
  if now - run.renewed > tonumber(idle) / 10 then
    run.renewed = now
    redis.call('HSET', keyOf(id), 'renewed', tostring(now))
    expire(id, channel, idle)
  end
  if kind == 'event' then return append(id, number, body) end
  if kind == 'end' then return finish(id, tag, more) end
  return true, true
end
local function trim(id, mostEvents, mostBytes)
  local length, size = redis.call('XLEN', eventsOf(id)), tonumber(redis.call('ZSCORE', sizes, id)) - ${RUN_BYTES}
  local before = size
  -- The newest event stays.
  while length > 1 and (length > mostEvents or size > mostBytes) do
    local cut
    for _, entry in ipairs(redis.call('XRANGE', eventsOf(id), '-', '+', 'COUNT', 50)) do
      if length == 1 or not (length > mostEvents or size > mostBytes) then break end
      cut, length, size = tonumber(string.match(entry[1], '^%d+')), length - 1, size - #entry[2][2] - ${EVENT_BYTES} + 2
    end
    if not cut then break end
    redis.call('XTRIM', eventsOf(id), 'MINID', (cut + 1) .. '-0')
  end
  if size ~= before then resize(id, size - before) end
  return size < before
end
-- Forgets something. False if there is nothing to forget.
local function makeRoom()
  local oldest = redis.call('ZRANGE', ended, 0, 0)[1]
  if oldest then
    forget(oldest)
    return true
  end
  local largest = redis.call('ZREVRANGE', sizes, 0, 0, 'WITHSCORES')
  return #largest > 0 and trim(largest[1], maxEvents, (tonumber(largest[2]) - ${RUN_BYTES}) * 3 / 4)
end
forgetOld()
for i = 9, #ARGV, 8 do
  local isTaken, isTold = take(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 6], ARGV[i + 7])
  answers[#answers + 1] = isTaken and 1 or 0
  if isTold then told[#told + 1] = ARGV[i + 5] .. ARGV[i + 6] .. '}' end
end
for id, change in pairs(grown) do
  resize(id, change)
  redis.call('HSET', keyOf(id), 'events', tostring(cache[id].events))
  trim(id, maxEvents, maxBytes)
end
local left = 100
while total > maxTotal and left > 0 and makeRoom() do left = left - 1 end
if #told > 0 then
  local text = '[' .. table.concat(told, ',') .. ']'
  if redis.call('EXISTS', tail) == 0 then bytes = 0 end
  local entry = { (head + 1) .. '-0', 'r', text, 'g', ARGV[8], 'p', headTag, 's', tostring(#text) }
  if type(redis.pcall('XADD', tail, unpack(entry))) == 'table' then
    -- Somebody else wrote there. Who misses something lists the runs anew.
    redis.call('DEL', tail)
    redis.call('XADD', tail, unpack(entry))
    bytes = 0
  end
  head, headTag, bytes = head + 1, ARGV[8], bytes + #text
  while bytes > tonumber(ARGV[6]) do
    local page = redis.call('XRANGE', tail, '-', '+', 'COUNT', 10)
    -- The newest stays, whatever the bound is.
    if #page < 2 then break end
    local j = 1
    while j < #page and bytes > tonumber(ARGV[6]) do
      bytes, j = bytes - #page[j][2][2], j + 1
    end
    redis.call('XTRIM', tail, 'MINID', page[j][1])
  end
  redis.call('PEXPIRE', tail, ARGV[7])
end
if isNew or now - renewed > tonumber(idle) / 10 then renew() else keep() end
return answers
`);
