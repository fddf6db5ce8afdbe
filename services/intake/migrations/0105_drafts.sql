-- What a worker has begun to write and not finished, sealed under a key of its own; it is nobody else's to read, and its
-- key is destroyed when it is finished, discarded (`over`, and emptied at once) or too old.
create table draft (
    id uuid primary key,
    org uuid not null,
    worker uuid not null,
    kind text not null check (kind in ('entry', 'consent')),
    entry uuid references entry,
    sealed bytea not null,
    begun_at timestamptz not null,
    saved_at timestamptz not null,
    version integer not null default 1,
    over boolean not null default false,
    check (not over or sealed = ''),
    check ((kind = 'consent') = (entry is not null))
);
create index on draft (org, worker, begun_at desc);

-- Where a worker met somebody last, so that the next form begins there. It says nothing of a person.
create table usual (
    org uuid not null,
    worker uuid not null,
    channel text not null,
    area text not null,
    primary key (org, worker)
);

do $$ declare t text; begin
    foreach t in array array['draft', 'usual']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('create policy own on %I to spean_api using (org = current_org()) with check (org = current_org())', t);
        execute format('grant select, insert on %I to spean_api, spean_worker', t);
    end loop;
end $$;
grant update (sealed, saved_at, version, over) on draft to spean_api;
grant update (channel, area) on usual to spean_api;
-- The clock locks a draft, which needs the right to change it, and takes it away.
grant update, delete on draft to spean_worker;
