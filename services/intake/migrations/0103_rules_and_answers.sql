-- What a kind of service needs to know may be reviewed for one network; null is every network of this holder.
alter table need_to_know add column network uuid;

-- An answer that is given again and again (somebody looks every minute) is one row: first at `at`, last at `last_at`.
-- `rules` are the reviewed rules that it was decided by, `content` the version of what was told.
alter table disclosure add column rules uuid[] not null default '{}';
alter table disclosure add column content text not null default '';
alter table disclosure add column times bigint not null default 1 check (times > 0);
alter table disclosure add column last_at timestamptz;
update disclosure set last_at = at;
alter table disclosure alter column last_at set not null;
alter table disclosure add check (last_at >= at);
grant update (times, last_at) on disclosure to spean_api;
create index on disclosure (entry, handoff, recipient, stage, purpose, number);
drop index disclosure_entry_number_idx;
