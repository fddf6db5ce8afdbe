-- What every service has: its outbox and what it has said, its place in what it reads, what is due, and answered commands.
-- spean_api sees one organisation's rows (app.org); spean_worker is the service itself.

create function current_org() returns uuid language sql stable as
$$ select nullif(current_setting('app.org', true), '')::uuid $$;

-- The life of this database: one more after every restore from a backup.
create table life (single boolean primary key default true check (single), epoch integer not null default 1 check (epoch > 0));
insert into life default values;

create table aggregate (id uuid primary key, sequence bigint not null check (sequence > 0));

-- Columns as the Debezium outbox router names them, so that it can take the relay's place.
create table outbox (
    number bigint generated always as identity primary key,
    id uuid not null unique,
    aggregatetype text not null,
    aggregateid uuid not null,
    type text not null,
    payload text not null,
    epoch integer not null,
    sequence bigint not null,
    time timestamptz not null,
    correlationid uuid not null,
    causationid uuid,
    traceparent text,
    unique (aggregateid, epoch, sequence)
);

create table said (
    number bigint primary key,
    id uuid not null unique,
    aggregatetype text not null,
    aggregateid uuid not null,
    type text not null,
    payload text not null,
    epoch integer not null,
    sequence bigint not null,
    time timestamptz not null,
    correlationid uuid not null,
    causationid uuid,
    traceparent text,
    "partition" integer not null,
    "offset" bigint not null,
    said_at timestamptz not null default now(),
    unique (aggregateid, epoch, sequence)
);

-- Take the aggregate's next number, then write: whoever comes second waits here, so numbers commit in order.
create function say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamptz,
                    p_correlation uuid, p_causation uuid, p_traceparent text)
returns bigint language sql security definer set search_path = public, pg_temp as $$
    with next as (
        insert into aggregate as a values (p_aggregate, 1)
        on conflict (id) do update set sequence = a.sequence + 1
        returning sequence
    )
    insert into outbox (id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid, causationid, traceparent)
    select p_id, p_topic, p_aggregate, p_type, p_payload, (select epoch from life), next.sequence, p_time, p_correlation,
           p_causation, p_traceparent
    from next
    returning sequence
$$;

-- Where this service is in each partition that it reads. The compare-and-set on `next` is the only fence.
create table position (
    topic text not null,
    "partition" integer not null,
    next bigint not null default 0 check (next >= 0),
    last_id uuid,
    primary key (topic, "partition")
);

-- The last number taken in, per writer and aggregate.
create table last (
    source text not null,
    aggregate uuid not null,
    epoch integer not null,
    sequence bigint not null,
    primary key (source, aggregate)
);

-- Events that could not take effect, with everything that followed them for the same key. Error classes only.
create table parked (
    number bigint generated always as identity primary key,
    topic text not null,
    "partition" integer not null,
    "offset" bigint not null,
    source text not null,
    aggregate uuid not null,
    epoch integer not null,
    sequence bigint not null,
    type text not null,
    headers jsonb not null,
    value bytea not null,
    reason text not null,
    parked_at timestamptz not null default now()
);
create unique index on parked (source, aggregate, epoch, sequence, "offset");
create index on parked (source, aggregate, number);

-- What has to happen at a time. One row per kind and subject; the clock claims rows, the handler clears or moves them.
create table due (
    kind text not null,
    subject uuid not null,
    at timestamptz not null,
    claimed_until timestamptz not null default '-infinity',
    tries integer not null default 0,
    primary key (kind, subject)
);
create index on due (at);

create function due_set(p_kind text, p_subject uuid, p_at timestamptz)
returns void language sql security definer set search_path = public, pg_temp as $$
    insert into due (kind, subject, at) values (p_kind, p_subject, p_at)
    on conflict (kind, subject) do update set at = excluded.at, claimed_until = '-infinity', tries = 0
$$;

create function due_clear(p_kind text, p_subject uuid)
returns void language sql security definer set search_path = public, pg_temp as $$
    delete from due where kind = p_kind and subject = p_subject
$$;

-- Answered commands: the same key gives the same answer for 72 hours. Answers hold ids, states and numbers only.
create table idempotency (
    org uuid not null,
    key text not null check (length(key) between 1 and 200),
    fingerprint bytea not null,
    status integer not null,
    etag text,
    body text not null,
    at timestamptz not null default now(),
    primary key (org, key)
);
create index on idempotency (at);
alter table idempotency enable row level security;
alter table idempotency force row level security;
create policy own on idempotency to spean_api using (org = current_org()) with check (org = current_org());
create policy service on idempotency to spean_worker using (true) with check (true);

grant select, insert on idempotency to spean_api;
grant select, insert, update, delete on all tables in schema public to spean_worker;
grant usage on all sequences in schema public to spean_worker;
revoke execute on all functions in schema public from public;
grant execute on function current_org() to spean_api, spean_worker;
grant execute on function say(uuid, text, uuid, text, text, timestamptz, uuid, uuid, text) to spean_api, spean_worker;
grant execute on function due_set(text, uuid, timestamptz), due_clear(text, uuid) to spean_api, spean_worker;
