-- name: set_desired_states
-- Keeps wishes to stop or suspend requests; what no runner has is there at once. A wish to stop
-- is never taken back by one to suspend. Answers those that have not ended.
WITH given AS (
    SELECT *
      FROM unnest(:request_ids::text[], :desired_states::smallint[], :users::text[], :reasons::text[])
        AS g (request_id, wish, user_name, reason)
), asked AS (
    UPDATE request_manager.requests AS r
       SET wish = CASE WHEN r.runner_id IS NULL AND g.wish = 6 THEN NULL
                       WHEN r.wish = 6 THEN 6 ELSE g.wish END,
           state = CASE WHEN r.runner_id IS NULL THEN g.wish ELSE r.state END,
           finished_at = CASE WHEN r.runner_id IS NULL AND g.wish = 6
                              THEN GREATEST(now(), r.created_at, r.started_at) END,
           reason = g.reason
      FROM given AS g
     WHERE r.request_id = g.request_id
       AND r.state IN (1, 2, 7)
 RETURNING r.request_id, r.state, g.wish, g.user_name, g.reason
), dropped AS (
    DELETE FROM request_manager.suspended_job_chains AS s
     USING asked AS a
     WHERE s.request_id = a.request_id AND a.state = 6
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, reason)
    SELECT user_name, CASE wish WHEN 6 THEN 'stop' ELSE 'suspend' END, request_id, reason
      FROM asked
)
SELECT request_id, state FROM asked;

-- name: clear_desired_state
-- Takes back the wish to suspend a request, or the wait for its next runner.
WITH let AS (
    UPDATE request_manager.requests
       SET wish = NULL, reason = '', not_before = NULL
     WHERE request_id = :request_id AND state IN (1, 2, 7)
       AND (wish = 7 OR wish IS NULL AND not_before IS NOT NULL)
 RETURNING request_id
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id)
    SELECT :user, 'resume', request_id FROM let
)
SELECT request_id FROM let;
