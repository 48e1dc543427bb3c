-- name: finish_requests
-- Ends requests as their runners report. A report can arrive before the acceptance is stored, so
-- PENDING and SUSPENDED requests count as running here. Whatever the clocks say, a request lasts at
-- least as long as its runner measured that it ran the chain. A report that names a runner counts
-- only while the request is assigned to that runner.
UPDATE request_manager.requests AS r
   SET state = g.state,
       started_at = COALESCE(r.started_at, GREATEST(LEAST(g.finished_at, now()) - g.running_time,
                                                    r.created_at)),
       finished_at = GREATEST(g.finished_at,
                              COALESCE(r.started_at, r.created_at) + g.running_time),
       finished_jobs = GREATEST(r.finished_jobs, g.finished_jobs),
       rolled_back_jobs = 0,
       reason = CASE WHEN g.reason = '' AND g.state = 6 THEN r.reason ELSE g.reason END,
       runner_id = NULL,
       claimed_until = NULL,
       orphaned = false,
       desired_state = NULL
  FROM unnest(:request_ids::text[], :epochs::bigint[], :runner_ids::text[], :states::smallint[],
              :finished_ats::timestamptz[], :running_times::interval[],
              :finished_jobs::integer[], :reasons::text[])
    AS g (request_id, epoch, runner_id, state, finished_at, running_time, finished_jobs, reason)
 WHERE r.request_id = g.request_id
   AND r.epoch = g.epoch AND r.state IN (1, 2, 7)
   AND (g.runner_id = '' OR (r.runner_id = g.runner_id AND NOT r.orphaned))
RETURNING r.request_id, g.epoch, g.runner_id, g.state, r.max_running IS NOT NULL AS limited;

-- name: progress_requests
-- Updates the job counts of running requests; finished_jobs never decreases.
UPDATE request_manager.requests AS r
   SET finished_jobs = GREATEST(r.finished_jobs, g.finished_jobs),
       rolled_back_jobs = g.rolled_back_jobs
  FROM unnest(:request_ids::text[], :epochs::bigint[], :runner_ids::text[],
              :finished_jobs::integer[], :rolled_back_jobs::integer[])
    AS g (request_id, epoch, runner_id, finished_jobs, rolled_back_jobs)
 WHERE r.request_id = g.request_id
   AND r.epoch = g.epoch AND r.state IN (1, 2, 7)
   AND (g.runner_id = '' OR (r.runner_id = g.runner_id AND NOT r.orphaned))
RETURNING r.request_id, g.epoch, g.runner_id;

-- name: suspend_requests
-- Takes requests from their runners and stores the state from which they can be resumed: as the
-- runner saved it, or as it was rebuilt after the runner was lost. The desired state STOPPED is
-- reached now. Recoveries are audited.
WITH given AS (
    SELECT *
      FROM unnest(:request_ids::text[], :epochs::bigint[], :runner_ids::text[],
                  :finished_jobs::integer[], :reasons::text[], :suspended_job_chains::bytea[],
                  :sealed_unders::text[], :job_types::jsonb[], :waits::interval[])
        AS g (request_id, epoch, runner_id, finished_jobs, reason, suspended_job_chain,
              sealed_under, job_types, wait)
), suspended AS (
    UPDATE request_manager.requests AS r
       SET state = CASE WHEN r.desired_state = 6 THEN 6 ELSE 7 END,
           finished_at = CASE WHEN r.desired_state = 6
                              THEN GREATEST(now(), r.created_at, r.started_at) END,
           finished_jobs = GREATEST(r.finished_jobs, g.finished_jobs),
           reason = CASE WHEN r.desired_state IS NULL THEN g.reason ELSE r.reason END,
           desired_state = NULLIF(r.desired_state, 6),
           suspended_at = CASE WHEN r.desired_state = 7 THEN now() END,
           runner_id = NULL,
           claimed_until = NULL,
           orphaned = false,
           not_before = now() + g.wait,
           job_types = ARRAY(SELECT jsonb_array_elements_text(g.job_types))
      FROM given AS g
     WHERE r.request_id = g.request_id
       AND r.epoch = g.epoch AND r.state IN (1, 2, 7) AND r.runner_id IS NOT NULL
       AND (g.runner_id = '' OR (r.runner_id = g.runner_id AND NOT r.orphaned))
 RETURNING r.request_id, r.type, g.epoch, g.runner_id, r.state, g.suspended_job_chain,
           g.sealed_under, g.reason
), kept AS (
    INSERT INTO request_manager.suspended_job_chains
           (request_id, suspended_job_chain, sealed_under)
    SELECT request_id, suspended_job_chain, sealed_under FROM suspended WHERE state = 7
        ON CONFLICT (request_id) DO UPDATE
       SET suspended_job_chain = excluded.suspended_job_chain,
           sealed_under = excluded.sealed_under,
           suspended_at = now()
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'recover', request_id, type, left(reason, 1000) FROM suspended WHERE :recovered::boolean
)
SELECT request_id, epoch, runner_id, state FROM suspended;
