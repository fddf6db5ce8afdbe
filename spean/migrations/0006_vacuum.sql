-- Tables in which every row is written again and again, or goes at once: cleaned after so many dead rows, however large the
-- table is, so that a look at the start of the outbox never walks over a day's dead rows. Measured: docs/postgresql.md.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
                        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
                        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
                        autovacuum_vacuum_cost_delay = 0);
alter table position set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
alter table aggregate set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
alter table last set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
alter table due set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- Only ever added to (a replay moves offsets): marked all-visible in small portions, so that no freeze ever takes hours.
alter table said set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                      autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
