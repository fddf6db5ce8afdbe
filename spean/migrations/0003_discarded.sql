-- Dead letters that belong to nobody may be thrown away by a person: where the record stood, what was wrong with it, who
-- threw it away, when, and why. The record itself is gone.
create table discarded (
    number bigint generated always as identity primary key,
    topic text not null,
    "partition" integer not null,
    "offset" bigint not null,
    reason text not null,
    parked_at timestamptz not null,
    by_account text not null check (length(by_account) between 1 and 100),
    because text not null check (length(because) between 1 and 200),
    discarded_at timestamptz not null default now()
);
grant select, insert on discarded to spean_worker;
grant usage on sequence discarded_number_seq to spean_worker;
