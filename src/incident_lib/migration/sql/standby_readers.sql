-- Question: which streaming standbys have a reader that is older than this server's last checkpoint?
-- Parameters: none.
-- Columns: name (the standby's application_name, else its pid), seconds (how old the reader is at least).
--          Only a standby with hot_standby_feedback reports its readers: by its walsender, or its slot.
-- Order: the oldest reader first.
SELECT coalesce(nullif(r.application_name, ''), 'pid ' || r.pid) AS name,
       extract(epoch FROM now() - c.checkpoint_time)::int AS seconds
FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid,
     LATERAL (SELECT coalesce(r.backend_xmin, s.xmin) AS xmin) AS reported,
     LATERAL (SELECT checkpoint_time, checkpoint_lsn, split_part(next_xid, ':', 2)::xid AS next_xid
              FROM pg_control_checkpoint()) AS c
WHERE r.state = 'streaming' AND s.slot_type IS DISTINCT FROM 'logical'
  AND age(reported.xmin) > age(c.next_xid)
  -- A standby reports every ten seconds; before it has replayed the checkpoint, what it reports is as old without a reader.
  AND c.checkpoint_time < now() - interval '15 s' AND r.replay_lsn >= c.checkpoint_lsn
  -- A transaction that writes here, and is as old, is reported by each standby, too.
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE age(a.backend_xid) >= age(reported.xmin))
  AND NOT EXISTS (SELECT FROM pg_prepared_xacts p WHERE age(p.transaction) >= age(reported.xmin))
ORDER BY age(reported.xmin) DESC, name;
