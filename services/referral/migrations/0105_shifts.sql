-- Who took over a house, and when: what the next shift sees is what has changed since. Names of staff alone.
create table shift (
    organisation uuid not null references organisation,
    number integer not null,
    person uuid not null,
    name text not null check (length(name) between 1 and 200),
    since timestamptz not null,
    primary key (organisation, number)
);
alter table shift enable row level security;
alter table shift force row level security;
create policy service on shift to spean_worker using (true) with check (true);
create policy own on shift to spean_api using (organisation = current_org()) with check (organisation = current_org());
grant select, insert on shift to spean_api;
grant select, insert on shift to spean_worker;
