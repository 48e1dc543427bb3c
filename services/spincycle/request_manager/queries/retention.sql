-- name: ended_before
-- Requests that ended in a state before a moment, oldest first. What ended before it was made
-- before it too, so the index by state and time is read from its old end.
SELECT request_id
  FROM request_manager.requests
 WHERE state = :state AND created_at < :moment AND finished_at < :moment
 ORDER BY created_at
 LIMIT :batch;

-- name: count_ended_before
-- How many requests ended before a moment.
SELECT count(*) AS requests
  FROM request_manager.requests
 WHERE state IN (3, 4, 6) AND created_at < :moment AND finished_at < :moment;

-- name: forget_requests
-- Deletes requests that have ended, with all that is kept of them.
WITH forgotten AS (
    DELETE FROM request_manager.requests AS r
     WHERE r.request_id = ANY (:request_ids::text[]) AND r.state IN (3, 4, 6)
 RETURNING r.request_id
), archives AS (
    DELETE FROM request_manager.request_archives AS a USING forgotten AS f
     WHERE a.request_id = f.request_id
), saved AS (
    DELETE FROM request_manager.suspended_job_chains AS s USING forgotten AS f
     WHERE s.request_id = f.request_id
), audited AS (
    DELETE FROM request_manager.audit AS a USING forgotten AS f
     WHERE a.request_id = f.request_id AND NOT :keep_audit::boolean
)
SELECT count(*) AS requests FROM forgotten;

-- name: forget_runners
-- Deletes runners that were gone before a moment and have no request.
WITH forgotten AS (
    DELETE FROM request_manager.runners AS n
     WHERE n.gone_at < :moment
       AND NOT EXISTS (SELECT
                         FROM request_manager.requests AS r
                        WHERE r.runner_id = n.runner_id)
 RETURNING n.runner_id
)
SELECT count(*) AS runners FROM forgotten;
