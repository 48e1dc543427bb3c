-- name: set_desired_states
-- Sets the desired state, STOPPED or SUSPENDED, of requests; a request without a runner reaches it
-- at once. STOPPED is never replaced by SUSPENDED. Returns the requests that had not ended.
WITH given AS (
    SELECT *
      FROM unnest(:request_ids::text[], :desired_states::smallint[], :reasons::text[],
                  :callers::text[], :authenticators::text[], :roles::jsonb[], :peers::text[],
                  :rules::text[], :call_ids::text[])
        AS g (request_id, desired_state, reason, user_name, authenticator, roles, peer, rule,
              call_id)
), updated AS (
    UPDATE request_manager.requests AS r
       SET desired_state = CASE WHEN r.runner_id IS NULL AND g.desired_state = 6 THEN NULL
                                WHEN r.desired_state = 6 THEN 6 ELSE g.desired_state END,
           state = CASE WHEN r.runner_id IS NULL THEN g.desired_state ELSE r.state END,
           suspended_at = CASE WHEN r.runner_id IS NOT NULL OR g.desired_state = 6 THEN NULL
                               WHEN r.desired_state = 7 THEN COALESCE(r.suspended_at, now())
                               ELSE now() END,
           finished_at = CASE WHEN r.runner_id IS NULL AND g.desired_state = 6
                              THEN GREATEST(now(), r.created_at, r.started_at) END,
           reason = g.reason
      FROM given AS g
     WHERE r.request_id = g.request_id
       AND r.state IN (1, 2, 7)
 RETURNING r.request_id, r.type, r.state, g.desired_state, g.reason, g.user_name,
           g.authenticator, g.roles, g.peer, g.rule, g.call_id
), dropped AS (
    DELETE FROM request_manager.suspended_job_chains AS s
     USING updated AS u
     WHERE s.request_id = u.request_id AND u.state = 6
), audited AS (
    INSERT INTO request_manager.audit
           (user_name, authenticator, roles, peer, rule, call_id, action, request_id, request_type,
            reason)
    SELECT user_name, authenticator, ARRAY(SELECT jsonb_array_elements_text(roles)), peer, rule,
           call_id, CASE desired_state WHEN 6 THEN 'stop' ELSE 'suspend' END, request_id, type,
           reason
      FROM updated
)
SELECT request_id, state FROM updated;

-- name: clear_desired_state
-- Clears the desired state SUSPENDED of a request, or its wait for the next runner. The period for
-- which it was suspended ends; it is empty if the clock of the database was set back since.
WITH cleared AS (
    UPDATE request_manager.requests
       SET desired_state = NULL, reason = '', not_before = NULL, suspended_at = NULL,
           suspended_periods = CASE WHEN suspended_at IS NULL THEN suspended_periods
                                    ELSE COALESCE(suspended_periods, '{}')
                                         + tstzmultirange(tstzrange(
                                               suspended_at, GREATEST(suspended_at, now())))
                               END
     WHERE request_id = :request_id AND state IN (1, 2, 7)
       AND (desired_state = 7 OR desired_state IS NULL AND not_before IS NOT NULL)
 RETURNING request_id, type
), audited AS (
    INSERT INTO request_manager.audit
           (user_name, authenticator, roles, peer, rule, call_id, action, request_id, request_type)
    SELECT :caller, :authenticator, :roles::text[], :peer, :rule, :call_id, 'resume', request_id,
           type
      FROM cleared
)
SELECT request_id FROM cleared;
