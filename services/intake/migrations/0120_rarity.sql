-- What offers leave out because too few of the people now with the holder share it.

-- Dated data of this holder: the latest row that has begun counts. How many people have to look the same in an offer before it
-- may show them so. Five, as for small numbers on the dashboard; with one alone nobody would be hidden.
create table crowd_limit (
    valid_from timestamptz primary key,
    people integer not null check (people >= 2),
    created_by text not null
);
insert into crowd_limit values ('2026-01-01Z', 5, 'default');

-- The last count: a look (a digest of what an offer shows) that enough people share. Who stands out is not in here.
create table crowd (
    look bytea primary key check (octet_length(look) = 32),
    people integer not null check (people >= 2),
    counted_at timestamptz not null
);

-- How many steps the offers of a hand-off leave out, decided with the first of them; null: somebody in it is described
-- otherwise since, so it is decided again with the next.
create table left_out (
    handoff uuid primary key references handoff,
    steps smallint check (steps between 0 and 3)
);

do $$ declare t text; begin
    foreach t in array array['crowd_limit', 'crowd', 'left_out']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
    end loop;
    foreach t in array array['crowd_limit', 'crowd']
    loop
        execute format('create policy readable on %I for select to spean_api using (current_org() is not null)', t);
        execute format('grant select on %I to spean_api', t);
    end loop;
end $$;
grant select, insert on crowd_limit to spean_worker;
grant select, insert, update, delete on crowd to spean_worker;
grant select, insert, update on left_out to spean_worker;
create policy own on left_out to spean_api using (exists (select 1 from handoff h where h.id = left_out.handoff));
grant select, update (steps) on left_out to spean_api;

-- Counted for the first time at once, then by the clock.
insert into due (kind, subject, at) values ('crowd', '00000000-0000-0000-0000-000000000000', now());
