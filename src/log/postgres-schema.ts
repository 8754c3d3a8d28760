/**
 * What PostgreSQL does for a log: the tables, and each step as a function, so that it is one statement for the server.
 *
 * A log is a schema.
 *
 * - `log`, one row: the epoch, and what was trimmed. It is written when the log is trimmed and when it starts over, not
 *   with each event: a row that changes all the time is slow to find while a long transaction keeps its old versions.
 * - `entries`, in order. They are only added at the end and deleted at the beginning. `total` is the sum of the sizes of
 *   all entries up to this one, so that how much is held is a subtraction.
 * - `outbox`: what transactions have appended and nobody has moved to `entries` yet. Its order says nothing, since
 *   transactions commit in any order.
 * - `keys`: where the records with the idempotency keys of late stand.
 *
 * One order for all: whoever adds to `entries` holds the lock of the log until its commit is visible. So entries become
 * visible in the order of their positions, and none behind a reader that has seen a later one. Nobody holds that lock
 * while an application's transaction is open.
 *
 * @module
 */

/** The version of these tables and functions. */
export const SCHEMA_VERSION = 1;

/** How many rows of the outbox are moved at a time, at most, and about how many bytes. */
const MOVED = 1_000;
const MOVED_BYTES = 4 * 1024 * 1024;
/** About how many bytes of entries one answer holds. */
const ANSWER_BYTES = 1024 * 1024;
/** How many entries are trimmed at a time, at most. */
const TRIMMED = 2_000;
/** How many idempotency keys are known. */
const KEYS = 10_000;

/** The statements that make the schema of a log, or bring it up to date. `name` has been checked. */
export function schemaOf(name: string): string {
  const s = `"${name}"`;
  /** Functions find nothing by the search path of their caller. */
  const safe = "set search_path = pg_catalog, pg_temp";
  const lock =
    `pg_advisory_xact_lock((1937011316::bigint << 32) | '${s}.log'::regclass::oid::bigint)`;
  const now = "(extract(epoch from clock_timestamp()) * 1000)::bigint";
  const tag = "left(replace(gen_random_uuid()::text, '-', ''), 11)";
  const head = `
  select e.position, e.tag, e.total into head from ${s}.entries e
    where e.position > state.start order by e.position desc limit 1;
  if not found then
    select state.start as position, state.start_tag as tag, state.start_total as total into head;
  end if;`;
  return `-- The tables and functions of Streamside's log, version ${SCHEMA_VERSION}. It may be run again.
select pg_advisory_xact_lock(1937011316);

create schema if not exists ${s};

create table if not exists ${s}.log (
  one boolean primary key default true check (one),
  version integer not null,
  epoch text not null,
  start bigint not null,
  start_tag text,
  start_total bigint not null,
  -- What streamside_publish and its kin refuse, as maxEventBytes of a hub does.
  max_event_bytes integer not null default 1048576
);

create table if not exists ${s}.entries (
  position bigint primary key,
  tag text not null,
  time bigint not null,
  total bigint not null,
  record text not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
-- Compressing a large event would take its time under the lock.
alter table ${s}.entries alter column record set storage external;

create table if not exists ${s}.outbox (
  id bigint generated always as identity primary key,
  xid xid8 not null default pg_current_xact_id(),
  bytes integer not null,
  key bytea,
  record text not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table ${s}.outbox alter column record set storage external;
create index if not exists outbox_xid on ${s}.outbox (xid);

create table if not exists ${s}.keys (
  id bigint generated always as identity primary key,
  key bytea not null unique,
  position bigint not null,
  tag text not null
) with (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 1000);

insert into ${s}.log (version, epoch, start, start_total)
  values (${SCHEMA_VERSION}, left(replace(gen_random_uuid()::text, '-', ''), 12), 0, 0)
  on conflict (one) do update set version = ${SCHEMA_VERSION} where log.version < ${SCHEMA_VERSION};

-- Moves what is in the outbox to the entries, and then appends a batch, which may be empty. Lines of the arguments
-- belong together; records and keys are JSON, which has no line breaks.
-- seen: everything that was visible in this snapshot has been moved already, so that rows which were moved and cannot
--   be removed yet, for a long transaction, are not looked at again and again.
-- since: the batch was not appended before this position. after, after_tag: the entry that the caller was told last.
create or replace function ${s}.append(
  seen pg_snapshot, since bigint, after bigint, after_tag text,
  tags text, sizes text, records text, keys text
) returns text language plpgsql ${safe} set enable_seqscan = off as $$
#variable_conflict use_column
declare
  -- Taken before anything is looked at: what becomes visible in between is looked at again.
  snapshot constant pg_snapshot := pg_current_snapshot();
  open_then constant xid8[] := array(select pg_snapshot_xip(append.seen));
  begun_since constant xid8 := coalesce(pg_snapshot_xmax(append.seen), '0'::xid8);
  its_tags text[] := string_to_array(append.tags, ' ');
  its_keys bytea[];
  all_tags text[];
  all_sizes integer[];
  all_records text[];
  all_keys bytea[];
  state record;
  head record;
  place record;
  probe text;
  count integer := 0;
  moved integer := 0;
  moved_bytes bigint := 0;
  first bigint;
  answer jsonb := '{}';
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the isolation level of the log''s own statements must be read committed, not %',
      current_setting('transaction_isolation') using errcode = 'invalid_parameter_value',
      hint = 'Set default_transaction_isolation for its role.';
  end if;
  if its_tags = '{}' and not exists (
    select from ${s}.outbox o where o.xid >= begun_since or o.xid = any(open_then)
  ) then
    return jsonb_build_object('moved', 0, 'more', false, 'snapshot', snapshot::text);
  end if;
  perform ${lock};
  -- From here on each statement sees what was committed before the lock was given.
  select * into strict state from ${s}.log;${head}
  if append.after > head.position
    or append.after = state.start and state.start_tag is distinct from append.after_tag
    or append.after > state.start and append.after_tag is distinct from
      (select e.tag from ${s}.entries e where e.position = append.after)
  then
    return jsonb_build_object('lost', true);
  end if;

  with gone as (
    delete from ${s}.outbox o where o.id = any(array(
      select due.id from (
        select waiting.id, sum(waiting.bytes) over (order by waiting.id) - waiting.bytes as before from (
          select o.id, o.bytes from ${s}.outbox o
            where o.xid >= begun_since or o.xid = any(open_then) order by o.id limit ${MOVED}
        ) waiting
      ) due where due.before < ${MOVED_BYTES}
    )) returning o.*
  )
  select array_agg(${tag} order by gone.id), array_agg(gone.bytes order by gone.id),
      array_agg(gone.record order by gone.id), array_agg(gone.key order by gone.id), count(*),
      coalesce(sum(gone.bytes), 0)
    into all_tags, all_sizes, all_records, all_keys, moved, moved_bytes from gone;

  if its_tags <> '{}' then
    its_keys := array(
      select case when k.key <> '' then sha256(convert_to(k.key, 'UTF8')) end
      from unnest(string_to_array(append.keys, E'\\n')) with ordinality k(key, n) order by k.n
    );
    -- Records with keys are appended once anyway. For the others it is enough to look for one of them.
    select t.tag into probe from unnest(its_tags, its_keys) with ordinality t(tag, key, n)
      where t.key is null order by t.n limit 1;
    if exists (
      select from ${s}.entries e
        where e.position > greatest(append.since, state.start) and e.tag = probe
    ) then
      answer := '{"repeated": true}';
    else
      all_tags := all_tags || its_tags;
      all_sizes := all_sizes || string_to_array(append.sizes, ' ')::integer[];
      all_records := all_records || string_to_array(append.records, E'\\n');
      all_keys := all_keys || its_keys;
    end if;
  end if;

  if array_remove(all_keys, null) <> '{}' then
    insert into ${s}.entries (position, tag, time, total, record)
      select head.position + row_number() over (order by t.n), t.tag, ${now},
          head.total + sum(t.bytes) over (order by t.n), t.record
        from (
          select *, row_number() over (partition by u.key order by u.n) as nth
            from unnest(all_tags, all_sizes, all_records, all_keys)
              with ordinality u(tag, bytes, record, key, n)
        ) t
        where t.key is null
          or t.nth = 1 and not exists (select from ${s}.keys k where k.key = t.key);
    get diagnostics count = row_count;
    insert into ${s}.keys (key, position, tag)
      select t.key, e.position, e.tag from unnest(all_tags, all_keys) with ordinality t(tag, key, n)
        join ${s}.entries e on e.position > head.position and e.tag = t.tag
        where t.key is not null order by t.n;
  else
    insert into ${s}.entries (position, tag, time, total, record)
      select head.position + t.n, t.tag, ${now},
          head.total + sum(t.bytes) over (order by t.n), t.record
        from unnest(all_tags, all_sizes, all_records) with ordinality t(tag, bytes, record, n);
    get diagnostics count = row_count;
    if answer = '{}' then
      first := head.position + moved + 1;
    end if;
  end if;

  if its_tags <> '{}' and first is null then
    select into place jsonb_agg(coalesce(e.position, k.position) order by t.n) as positions,
        jsonb_agg(coalesce(e.tag, k.tag) order by t.n) as tags
      from unnest(its_tags, its_keys) with ordinality t(tag, key, n)
        left join ${s}.entries e
          on e.position > greatest(append.since, state.start) and e.tag = t.tag
        left join ${s}.keys k on k.key = t.key;
    answer := answer || jsonb_build_object('positions', place.positions, 'tags', place.tags);
  end if;
  if count > 0 then
    perform pg_notify('${name}_log', '');${head}
  end if;
  return answer || jsonb_build_object(
    'epoch', state.epoch, 'head', head.position, 'headTag', head.tag, 'first', first,
    'events', head.position - state.start, 'bytes', head.total - state.start_total,
    'moved', moved, 'more', moved >= ${MOVED} or moved_bytes >= ${MOVED_BYTES},
    'snapshot', snapshot::text
  );
end $$;

-- Where the log stands, as JSON in a row of its own, and the entries after a position.
create or replace function ${s}.read(
  after bigint, most integer,
  out at bigint, out tag text, out written bigint, out content text
) returns setof record language plpgsql stable ${safe} set enable_seqscan = off as $$
declare
  state record;
  head record;
  first bigint;
begin
  select * into strict state from ${s}.log;${head}
  return query select null::bigint, (
      select e.tag from ${s}.entries e where e.position = read.after and read.after > state.start
    ), null::bigint, jsonb_build_object(
      'epoch', state.epoch, 'head', head.position, 'headTag', head.tag,
      'start', state.start, 'startTag', state.start_tag
    )::text;
  if read.after < state.start or read.most < 1 then
    return;
  end if;
  select e.total into first from ${s}.entries e
    where e.position > read.after order by e.position limit 1;
  return query select e.position, e.tag, e.time, e.record from ${s}.entries e
    where e.position > read.after and e.total <= first + ${ANSWER_BYTES}
    order by e.position limit read.most;
end $$;

-- Begins another epoch, unless one began already.
create or replace function ${s}.renew(old text, new text) returns void
language plpgsql ${safe} as $$
begin
  perform ${lock};
  update ${s}.log set epoch = renew.new where epoch = renew.old;
  perform pg_notify('${name}_log', '');
end $$;

-- Deletes the oldest entries beyond the bounds, so many at a time. Returns whether there may be more.
create or replace function ${s}.prune(events bigint, bytes bigint, age bigint) returns boolean
language plpgsql ${safe} set enable_seqscan = off as $$
declare
  state record;
  head record;
  cut record;
  oldest constant bigint := ${now} - prune.age;
begin
  select * into state from ${s}.log for update skip locked;
  if not found then
    return false;
  end if;${head}
  select e.position, e.tag, e.total into cut from (
    select *, lag(next.total, 1, state.start_total) over (order by next.position) as before from (
      select * from ${s}.entries next where next.position > state.start
        order by next.position limit ${TRIMMED}
    ) next
  ) e where e.position < head.position and (e.position <= head.position - prune.events
      or head.total - e.before > prune.bytes or e.time < oldest)
    order by e.position desc limit 1;
  if not found then
    return false;
  end if;
  delete from ${s}.entries e where e.position > state.start and e.position <= cut.position;
  update ${s}.log set start = cut.position, start_tag = cut.tag, start_total = cut.total;
  delete from ${s}.keys k where k.id <= (select max(last.id) from ${s}.keys last) - ${KEYS};
  return cut.position - state.start >= ${TRIMMED};
end $$;

-- Appends within the caller's transaction, if that is the one which the token was set in.
create or replace function ${s}.enqueue(token text, record text, bytes integer, key text)
returns boolean language plpgsql ${safe} as $$
begin
  if enqueue.token is distinct from current_setting('streamside.transaction', true) then
    return false;
  end if;
  insert into ${s}.outbox (bytes, key, record)
    values (enqueue.bytes, sha256(convert_to(enqueue.key, 'UTF8')), enqueue.record);
  perform pg_notify('${name}_outbox', '');
  return true;
end $$;

create or replace function ${s}.check_name(what text, value text) returns void
language plpgsql immutable ${safe} as $$
begin
  -- Names are measured as JavaScript does: what is beyond U+FFFF counts twice.
  if value is null or value = '' or value ~ '[\\r\\n]' or length(value) > 1024
    or length(value) + length(regexp_replace(value, '[\\u0001-\\uffff]', '', 'g')) > 1024
  then
    raise exception 'The % must be a string of 1 to 1024 characters without CR, LF and NUL, got %.',
      what, coalesce(to_json(left(value, 64))::text, 'null') using errcode = 'invalid_parameter_value';
  end if;
end $$;

-- Checks an event as hub.publish does, and appends it within the transaction.
create or replace function ${s}.add(
  address text, event text, data text, key text, except_sessions text[], idempotency_key text,
  transient boolean
) returns void language plpgsql ${safe} as $$
declare
  lines constant text := replace(replace(add.data, E'\\r\\n', E'\\n'), E'\\r', E'\\n');
  size bigint;
  most integer;
  session text;
  written text;
begin
  if add.event is null or add.event ~ '[\\r\\n]' then
    raise exception 'The event name % is not allowed: it must not contain CR, LF or NUL.',
      coalesce(to_json(left(add.event, 64))::text, 'null') using errcode = 'invalid_parameter_value';
  elsif add.event = '' then
    raise exception 'The event name is empty: give it a name, such as "message".'
      using errcode = 'invalid_parameter_value';
  elsif starts_with(add.event, 'streamside:') then
    raise exception 'The event name % is not allowed: names that start with "streamside:" are reserved for the library.',
      to_json(left(add.event, 64)) using errcode = 'invalid_parameter_value';
  elsif add.event in ('open', 'error', 'reconnecting', 'reset', 'close') then
    raise exception 'The event name % is not allowed: the client raises events of that name itself.',
      to_json(add.event) using errcode = 'invalid_parameter_value';
  elsif add.data is null then
    raise exception 'The data of the event % is null: use ''null''::jsonb or a string.',
      to_json(left(add.event, 64)) using errcode = 'invalid_parameter_value';
  end if;
  if add.key is not null then perform ${s}.check_name('key', add.key); end if;
  if add.idempotency_key is not null then
    perform ${s}.check_name('idempotency_key', add.idempotency_key);
  end if;
  foreach session in array coalesce(add.except_sessions, '{}') loop
    perform ${s}.check_name('session in except_sessions', session);
  end loop;
  -- As it goes out, without its id: "event: …", a line of data for each line, and "id: ".
  size := 8 + octet_length(add.event) + octet_length(lines)
    + 6 * (length(lines) - length(replace(lines, E'\\n', ''))) + 7 + 6;
  select l.max_event_bytes into strict most from ${s}.log l;
  if size > most then
    raise exception 'The event % takes % bytes; max_event_bytes is %.', to_json(left(add.event, 64)), size, most
      using errcode = 'program_limit_exceeded',
      hint = 'Send a reference to the data instead, or raise the limit: it is a column of ${name}.log.';
  end if;
  written := json_strip_nulls(json_build_object(
    'to', add.address, 'event', add.event, 'data', add.data, 'key', add.key,
    'except', add.except_sessions, 'transient', nullif(coalesce(add.transient, false), false)
  ));
  insert into ${s}.outbox (bytes, key, record) values (
    octet_length(written) + 100, sha256(convert_to(to_json(add.idempotency_key)::text, 'UTF8')), written
  );
  perform pg_notify('${name}_outbox', '');
end $$;
${
    ["text", "json", "jsonb"].map((type) => `
create or replace function ${s}.streamside_send(
  session text, event text, data ${type}, key text default null, idempotency_key text default null,
  transient boolean default false
) returns void language plpgsql security definer ${safe} as $$
begin
  perform ${s}.check_name('session', session);
  perform ${s}.add('@' || session, event, data::text, key, null, idempotency_key, transient);
end $$;

create or replace function ${s}.streamside_publish(
  channel text, event text, data ${type}, key text default null, except_sessions text[] default null,
  idempotency_key text default null, transient boolean default false
) returns void language plpgsql security definer ${safe} as $$
begin
  perform ${s}.check_name('channel', channel);
  perform ${s}.add('#' || channel, event, data::text, key, except_sessions, idempotency_key, transient);
end $$;

create or replace function ${s}.streamside_broadcast(
  event text, data ${type}, key text default null, except_sessions text[] default null,
  idempotency_key text default null, transient boolean default false
) returns void language plpgsql security definer ${safe} as $$
begin
  perform ${s}.add('*', event, data::text, key, except_sessions, idempotency_key, transient);
end $$;
`).join("")
  }
-- Everyone may execute a new function, unless this is said.
revoke all on all functions in schema ${s} from public;
`;
}
