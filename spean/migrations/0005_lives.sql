-- A database that was restored from a backup begins a new life (spean/lives.py).
-- The newest life of its writer that was heard in a partition: what an older one says behind that is dropped.
alter table position add column life integer not null default 0 check (life >= 0);

-- Others' events that this service had answered in a life it does not remember: they pass without effect.
create table answered (event uuid primary key);
grant select, insert on answered to spean_worker;

-- Where this life began in each partition of this service's own topics: the marker is on the log and in no table else.
create table marked (
    topic text not null,
    "partition" integer not null,
    "offset" bigint not null,
    primary key (topic, "partition")
);
grant select, insert, update on marked to spean_worker;

-- Where the log should end, looked up at every start.
create index on said (aggregatetype, "partition", "offset");
