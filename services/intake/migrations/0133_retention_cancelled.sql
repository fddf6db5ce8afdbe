-- A rule of retention is taken back as long as it has not begun: whoever is erased by a wrong one does not come back.
alter table retention
    add column cancelled_at timestamptz,
    add column cancelled_by text,
    add check ((cancelled_at is null) = (cancelled_by is null)),
    add check (cancelled_at < valid_from);
grant update (cancelled_at, cancelled_by) on retention to spean_worker;
