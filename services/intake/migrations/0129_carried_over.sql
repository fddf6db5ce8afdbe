-- What earlier migrations were to carry over and may not have: as the owner of the tables they saw no row where rows are guarded
-- (from now on they do).

-- Who was asked last (0117), where nobody was asked since and it has not ended: a stop names whoever may have an open offer.
insert into yes (handoff, organisation)
    select a.handoff, a.organisation
    from (select distinct on (handoff) handoff, organisation, at from asked order by handoff, at desc) a
    join handoff h on h.id = a.handoff
    join upkeep.migration m on m.name = '0117_yeses.sql'
    where a.at < m.at and h.state not in ('completed', 'cancelled') and not exists (select from yes y where y.handoff = a.handoff);

-- Of whoever is erased already the clock may wait for the day on which they come of age: it looks now, and forgets it.
update due set at = now() where kind = 'consent-look' and at > now()
    and subject in (select entry from erasure where done_at is not null);
