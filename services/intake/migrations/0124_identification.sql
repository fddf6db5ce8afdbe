-- The path of a person's identification, step by step: steps are only ever added, and go with the person. What a step says
-- (status, who decided, when, reference, notes) is sealed under the person's key: here it shows only that there is one.
create table identification_step (
    entry uuid not null references entry,
    number integer not null check (number >= 1),
    org uuid not null,
    sealed bytea not null,
    by text not null,
    at timestamptz not null,
    primary key (entry, number)
);
alter table identification_step enable row level security;
alter table identification_step force row level security;
create policy service on identification_step to spean_worker using (true) with check (true);
create policy own on identification_step to spean_api using (org = current_org()) with check (org = current_org());
grant select, insert on identification_step to spean_api;
grant select, delete on identification_step to spean_worker;
