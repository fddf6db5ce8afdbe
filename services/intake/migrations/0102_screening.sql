-- A screened group is taken in chunk by chunk: a row of the file becomes at most one entry, and what was refused or
-- doubtful is kept by line and column, never with the value.
alter table entry add column screening_row bigint check (screening_row >= 0);
alter table entry add check ((screening is null) = (screening_row is null));
create unique index one_entry_per_row on entry (screening, screening_row) where screening is not null;
drop index entry_screening_idx;

alter table screening add column suppressed bigint not null default 0;
alter table screening add check (entries + refused = rows_done);

create table screening_finding (
    number bigint generated always as identity primary key,
    screening uuid not null references screening,
    org uuid not null,
    line bigint not null check (line > 0),
    "column" text,
    why text not null,
    refused boolean not null
);
create index on screening_finding (screening, number);
alter table screening_finding enable row level security;
alter table screening_finding force row level security;
create policy service on screening_finding to spean_worker using (true) with check (true);
create policy own on screening_finding to spean_api using (org = current_org()) with check (org = current_org());
grant select, insert on screening_finding to spean_api, spean_worker;
