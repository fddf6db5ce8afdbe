-- What "who knew what at that time, under which consent and rule" needs, and was not kept. Null in rows of before: not known.
-- `facts`: what the network vouched for about the recipient when it was told; `service_version`: its record of the service
-- consent, beside the one of sharing in `consent_version`.
alter table disclosure add column service_version integer;
alter table disclosure add column facts jsonb;
alter table packet add column erasure_asked_at timestamptz;
alter table packet add column erasure_answered_at timestamptz;
grant update (erasure_asked_at) on packet to spean_api;

-- Who asked that question: written down before it is answered, never changed.
create table audited (
    number bigint generated always as identity primary key,
    "case" uuid not null references "case",
    org uuid not null,
    asked_by text not null,
    about timestamptz not null,
    at timestamptz not null
);
create index on audited ("case", number);
alter table audited enable row level security;
alter table audited force row level security;
create policy service on audited to spean_worker using (true) with check (true);
create policy own on audited to spean_api using (org = current_org()) with check (org = current_org());
grant select, insert on audited to spean_api, spean_worker;
grant usage on sequence audited_number_seq to spean_api, spean_worker;
