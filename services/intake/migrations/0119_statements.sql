-- What became of a copy, as whoever held it has said: a statement that their system signed, or this holder's receipt for somebody
-- who answered on a page. Kept with the public key, which may be rotated out by the time somebody looks. Nothing in it is about
-- the person: it stays when they are erased.
create table copy_answer (
    offer uuid not null references packet,
    id uuid not null,
    handoff uuid not null references handoff,
    org uuid not null,
    request uuid not null,
    organisation uuid not null,
    by text not null,
    signed_by text not null check (signed_by in ('system', 'holder')),
    answer text not null check (answer in ('erased', 'restricted', 'retained_by_law', 'nothing_held')),
    reason text,
    law text,
    said_at timestamptz not null,
    at timestamptz not null,
    statement text not null,
    public_key jsonb not null,
    primary key (offer, id),
    check ((answer = 'retained_by_law') = (reason is not null)),
    check ((answer = 'retained_by_law') = (law is not null))
);
create index on copy_answer (handoff);
alter table copy_answer enable row level security;
alter table copy_answer force row level security;
create policy service on copy_answer to spean_worker using (true) with check (true);
create policy own on copy_answer for select to spean_api using (org = current_org());
grant select, insert on copy_answer to spean_worker;
grant select on copy_answer to spean_api;

-- Through which system, or as whom, a packet was opened in a browser.
alter table packet_session add column by text;
