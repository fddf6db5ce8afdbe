-- Keys that packets are sealed to, beside those that a system signs in with: two, while it changes from one to the other. A
-- table of their own: code from before this migration takes every row of client_key for a key that signs.
-- `thumbprint`: RFC 7638, SHA-256.
create table client_sealing_key (
    client text not null references client,
    thumbprint text not null check (thumbprint ~ '^[A-Za-z0-9_-]{43}$'),
    public_key jsonb not null,
    status text not null default 'active' check (status in ('active', 'revoked')),
    since timestamptz not null default now(),
    revoked_at timestamptz,
    primary key (client, thumbprint),
    constraint revoked_at_a_time check ((status = 'revoked') = (revoked_at is not null))
);
alter table client_sealing_key enable row level security;
alter table client_sealing_key force row level security;
create policy service on client_sealing_key to spean_worker using (true) with check (true);
grant select, insert, update on client_sealing_key to spean_worker;
