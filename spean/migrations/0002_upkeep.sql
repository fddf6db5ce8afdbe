-- Once an hour the clock forgets what is too old (spean/service.py); its handler sets the next time.
insert into due (kind, subject, at) values ('upkeep', '00000000-0000-0000-0000-000000000000', now());
