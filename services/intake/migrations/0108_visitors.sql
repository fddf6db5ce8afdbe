-- Whose session the network's issuer vouched for last, and when: so that a worker can still stop something for a person while
-- the issuer does not answer. The cookie's digest alone is kept; it opens nothing but stopping, and for hours only.
create table vouched (
    digest bytea primary key,
    claims jsonb not null,
    at timestamptz not null
);
alter table vouched enable row level security;
alter table vouched force row level security;
create policy service on vouched to spean_worker using (true) with check (true);
grant select, insert, update, delete on vouched to spean_worker;
