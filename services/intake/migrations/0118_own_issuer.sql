-- Systems that this holder has admitted itself, where it is its own issuer: whose they are, what the holder's operator vouches
-- for about them, what they may do. Assertions open once.
create table system (
    id text primary key,
    organisation uuid not null,
    type text not null,
    country text not null,
    law_enforcement boolean not null,
    networks uuid[] not null,
    scopes text[] not null,
    public_key jsonb not null,
    admitted_at timestamptz not null,
    ended_at timestamptz
);
create table used_assertion (system text not null, jti text not null, expires_at timestamptz not null, primary key (system, jti));
create index on used_assertion (expires_at);
do $$
declare t text;
begin
    foreach t in array array['system', 'used_assertion']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
    end loop;
end $$;
grant select, insert, update on system to spean_worker;
grant select, insert, delete on used_assertion to spean_worker;
