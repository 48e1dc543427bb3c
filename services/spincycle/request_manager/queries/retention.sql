-- name: ended_before
-- Requests that ended in a state before a moment, oldest first. They were also created before it,
-- so the index by state and time is read from its old end.
SELECT request_id
  FROM request_manager.requests
 WHERE state = :state AND created_at < :moment AND finished_at < :moment
 ORDER BY created_at
 LIMIT :batch;

-- name: count_ended_before
-- Number of requests that ended before a moment.
SELECT count(*) AS requests
  FROM request_manager.requests
 WHERE state IN (3, 4, 6) AND created_at < :moment AND finished_at < :moment;

-- name: delete_requests
-- Deletes requests that have ended, with everything stored about them but the audit log.
WITH deleted AS (
    DELETE FROM request_manager.requests AS r
     WHERE r.request_id = ANY (:request_ids::text[]) AND r.state IN (3, 4, 6)
 RETURNING r.request_id
), archives AS (
    DELETE FROM request_manager.request_archives AS a USING deleted AS d
     WHERE a.request_id = d.request_id
), saved AS (
    DELETE FROM request_manager.suspended_job_chains AS s USING deleted AS d
     WHERE s.request_id = d.request_id
)
SELECT count(*) AS requests FROM deleted;

-- name: delete_runners
-- Deletes runners that were deregistered before a moment and have no requests.
WITH deleted AS (
    DELETE FROM request_manager.runners AS n
     WHERE n.deregistered_at < :moment
       AND NOT EXISTS (SELECT
                         FROM request_manager.requests AS r
                        WHERE r.runner_id = n.runner_id)
 RETURNING n.runner_id
)
SELECT count(*) AS runners FROM deleted;
