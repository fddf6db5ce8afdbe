-- A coordinator sees which notices of the own networks have failed; what is being sent is known before it goes out.
alter table delivery add column coordinator uuid;
alter table delivery add column interrupted integer not null default 0;
alter table delivery drop constraint delivery_state_check;
alter table delivery add constraint delivery_state_check
    check (state in ('waiting', 'sending', 'sent', 'parked', 'lapsed'));
create index on delivery (coordinator, state);
create policy watched on delivery for select to spean_api using (coordinator = current_org());

-- The tail is kept for some days (upkeep).
create index on tail (at);

-- Organisations that may be asked; one without an address cannot be told that something waits.
create table organisation (id uuid primary key);
alter table organisation enable row level security;
alter table organisation force row level security;
create policy service on organisation to spean_worker using (true) with check (true);
grant select, insert, delete, truncate on organisation to spean_worker;
