-- name: current_snapshot
-- A snapshot of the database: what is visible in it is what has been committed.
--
-- Rows that were restored from a dump may hold ids of transactions that this database has not
-- reached yet. Each later snapshot would report them as changed. They changed before everything
-- else.
WITH restored AS (
    UPDATE request_manager.requests
       SET changed = '3'
     WHERE changed >= pg_snapshot_xmax(pg_current_snapshot())
)
SELECT pg_current_snapshot()::text AS snapshot;

-- name: changed_requests
-- Requests whose state changed after a snapshot, in the order of their changes. Their given
-- arguments can be left out, since those of many requests may take gigabytes. One row without a
-- request is always returned: it has the current snapshot, and whether everything visible in it
-- survives a crash of the server.
SELECT s.snapshot, s.is_flushed, c.*
  FROM (SELECT pg_current_snapshot()::text AS snapshot,
               pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() AS is_flushed) AS s
  LEFT JOIN LATERAL
       (SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at,
               r.finished_at, r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch,
               r.runner_id, r.priority, left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of,
               r.desired_state, r.max_running,
               CASE WHEN :with_args::boolean THEN r.given_args ELSE '{}' END AS given_args,
               r.required_features, r.job_types, r.changed::text AS changed_by,
               n.address AS runner_address
          FROM request_manager.requests AS r
          LEFT JOIN request_manager.runners AS n USING (runner_id)
         WHERE r.changed >= pg_snapshot_xmin(:seen::text::pg_snapshot)
           AND NOT pg_visible_in_snapshot(r.changed, :seen::text::pg_snapshot)
         ORDER BY r.changed, r.request_id
         LIMIT :limit::integer) AS c ON true;

-- name: flush
-- Makes everything that was committed before survive a crash of the server. Commits without
-- synchronous_commit are visible at once. If one were lost, its transaction id would be assigned to
-- another transaction, and holders of earlier snapshots would take that one for already seen.
SELECT pg_logical_emit_message(true, 'spincycle', '');

-- name: args_of_requests
-- Resolved arguments of requests.
SELECT request_id, args
  FROM request_manager.request_archives
 WHERE request_id = ANY (:request_ids::text[]);

-- name: notify
-- Notifies the other processes. Nothing has to be flushed to disk for that.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, :payload);
