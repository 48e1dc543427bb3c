-- name: committed_by_now
-- A snapshot of the database: what is visible in it is what has been committed.
--
-- Rows that were restored from a dump may hold transactions that this database has not come to
-- yet. They would be told as changed whenever anything is: they changed before all that is told.
WITH restored AS (
    UPDATE request_manager.requests
       SET changed = '3'
     WHERE changed >= pg_snapshot_xmax(pg_current_snapshot())
)
SELECT pg_current_snapshot()::text AS snapshot;

-- name: changed_requests
-- Requests whose state changed after a snapshot, in the order of their changes; their given
-- arguments may be left out, as those of many requests may take gigabytes. There is a row without a
-- request in any case, which has the snapshot up to now, and whether all that is visible in it
-- outlives a crash of the server.
SELECT s.snapshot, s.is_kept, c.*
  FROM (SELECT pg_current_snapshot()::text AS snapshot,
               pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() AS is_kept) AS s
  LEFT JOIN LATERAL
       (SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at, r.finished_at,
               r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch, r.runner_id, r.priority,
               left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of, r.wish,
               r.max_running,
               CASE WHEN :with_args::boolean THEN r.given_args ELSE '{}' END AS given_args,
               r.required_features, r.job_types, r.changed::text AS changed_by,
               n.address AS runner_address
          FROM request_manager.requests AS r
          LEFT JOIN request_manager.runners AS n USING (runner_id)
         WHERE r.changed >= pg_snapshot_xmin(:seen::text::pg_snapshot)
           AND NOT pg_visible_in_snapshot(r.changed, :seen::text::pg_snapshot)
         ORDER BY r.changed, r.request_id
         LIMIT :limit::integer) AS c ON true;

-- name: keep
-- Lets all that was committed before outlive a crash of the server. What need not outlive one is
-- visible as soon as it is committed. Were it lost, its transaction's id would be given to another
-- one, and that would be taken for seen by whoever holds a snapshot from before.
SELECT pg_logical_emit_message(true, 'spincycle', '');

-- name: args_of_requests
-- Arguments of requests as they were understood.
SELECT request_id, args
  FROM request_manager.request_archives
 WHERE request_id = ANY (:request_ids::text[]);

-- name: notify
-- Tells the other processes something. Nothing of that need be on disk.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, :payload);
