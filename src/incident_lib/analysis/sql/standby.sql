-- Question: is this server a standby, and how old is what it shows?
-- Parameters: none.
-- Columns: standby; replayed_at, age_seconds: of the last transaction that it has replayed, NULL where it has replayed
--          none since it started; receiving: whether it is connected to a server that sends WAL;
--          caught_up: whether it has replayed all WAL that it has received, NULL where it has received none.
-- Order: one row.
SELECT pg_is_in_recovery() AS standby, to_json(pg_last_xact_replay_timestamp()) #>> '{}' AS replayed_at,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS age_seconds,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS receiving,
       pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AS caught_up;
