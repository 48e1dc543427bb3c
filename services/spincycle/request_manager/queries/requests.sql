-- name: create_request
-- Stores a request with its archive; returns its id if it is new. It is not stored if its
-- idempotency key is already known. With a runner_id it is assigned to that runner, as by
-- assign_requests.
WITH stored AS (
    INSERT INTO request_manager.requests
           (request_id, type, state, user_name, created_at, total_jobs, priority, spec_revision,
            plan_hash, given_args, idempotency_key, content_hash, max_running,
            required_features, job_types, runner_id, epoch, claimed_until)
    VALUES (:request_id, :type, 1, :user, :created_at, :total_jobs, :priority, :spec_revision,
            :plan_hash, :given_args, :idempotency_key, :content_hash, :max_running,
            :required_features::text[], :job_types::text[], :runner_id::text,
            CASE WHEN :runner_id::text IS NULL THEN 0 ELSE 1 END,
            CASE WHEN :runner_id::text IS NOT NULL THEN now() + :lease::interval END)
        ON CONFLICT DO NOTHING
 RETURNING request_id, user_name
), archived AS (
    INSERT INTO request_manager.request_archives
           (request_id, create_request, args, job_chain, sealed_under)
    SELECT request_id, :create_request::jsonb, :args::jsonb, :job_chain::bytea, :sealed_under::text
      FROM stored
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id)
    SELECT user_name, 'create', request_id FROM stored
)
SELECT request_id FROM stored;

-- name: create_rerun
-- Stores a rerun of another request, with the state of the jobs that it keeps; returns its id. It is
-- not stored if its idempotency key is already known, nor, without allow_concurrent, if a request
-- with the same root has not ended. Of concurrent calls the index requests_exclusive_reruns
-- admits one. Secrets that are copied stay marked as not
-- examined.
WITH stored AS (
    INSERT INTO request_manager.requests
           (request_id, type, state, user_name, created_at, total_jobs, finished_jobs, priority,
            max_running, required_features, job_types, spec_revision, plan_hash, given_args,
            idempotency_key, content_hash, rerun_of, rerun_root, allow_concurrent)
    SELECT :request_id, type, 1, :user, :created_at::timestamptz, total_jobs,
           :finished_jobs::integer, priority, max_running, required_features,
           :job_types::text[], spec_revision, plan_hash, given_args, :idempotency_key,
           :content_hash, request_id, COALESCE(rerun_root, rerun_of, request_id),
           :allow_concurrent::boolean
      FROM request_manager.requests AS old
     WHERE request_id = :rerun_of
       AND (:allow_concurrent
            OR NOT EXISTS (SELECT
                             FROM request_manager.requests AS live
                            WHERE live.rerun_root = COALESCE(old.rerun_root, old.rerun_of,
                                                             old.request_id)
                              AND live.state IN (1, 2, 7)))
        ON CONFLICT DO NOTHING
 RETURNING request_id, rerun_of
), archived AS (
    INSERT INTO request_manager.request_archives
           (request_id, create_request, args, job_chain, sealed_under)
    SELECT s.request_id, a.create_request, a.args, :job_chain,
           CASE WHEN a.sealed_under = '?' AND a.args @> '[{"secret": true}]' THEN '?'
                ELSE :chain_sealed_under::text END
      FROM stored AS s
      JOIN request_manager.request_archives AS a ON a.request_id = s.rerun_of
), kept AS (
    INSERT INTO request_manager.suspended_job_chains
           (request_id, suspended_job_chain, sealed_under)
    SELECT request_id, :suspended_job_chain, :state_sealed_under::text FROM stored
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, job_id, reason)
    SELECT :user, :action, rerun_of, :job_id, :reason FROM stored
)
SELECT request_id FROM stored;

-- name: live_rerun
-- The newest request that has not ended, of those with the same root as a request.
SELECT live.request_id, live.state
  FROM request_manager.requests AS old
  JOIN request_manager.requests AS live
       ON live.rerun_root = COALESCE(old.rerun_root, old.rerun_of, old.request_id)
          AND live.state IN (1, 2, 7)
 WHERE old.request_id = :request_id
 ORDER BY live.created_at DESC, live.request_id
 LIMIT 1;

-- name: request_with_idempotency_key
-- The request that an earlier call created with the key.
SELECT request_id, content_hash
  FROM request_manager.requests
 WHERE user_name = :user AND idempotency_key = :idempotency_key;

-- name: get_requests
-- Requests by id, with the addresses of their runners. Rows of older versions may have reasons of
-- megabytes.
SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at, r.finished_at,
       r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch, r.runner_id, r.priority,
       left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of, r.desired_state,
       r.max_running, r.given_args, r.required_features, r.job_types,
       n.address AS runner_address
  FROM request_manager.requests AS r
  LEFT JOIN request_manager.runners AS n USING (runner_id)
 WHERE r.request_id = ANY (:request_ids::text[]);

-- name: any_running
-- Whether any request is running.
SELECT EXISTS (SELECT FROM request_manager.requests WHERE state = 2) AS running;

-- name: list_requests
-- A page of the requests that match all criteria that are set, newest first.
SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at, r.finished_at,
       r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch, r.runner_id, r.priority,
       left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of, r.desired_state,
       r.max_running, CASE WHEN :with_args::boolean THEN r.given_args ELSE '{}' END AS given_args,
       r.required_features, r.job_types,
       n.address AS runner_address
  FROM request_manager.requests AS r
  LEFT JOIN request_manager.runners AS n USING (runner_id)
 WHERE (:type::text = '' OR r.type = :type)
   AND (:user::text = '' OR r.user_name = :user)
   AND (:states::smallint[] = '{}' OR r.state = ANY (:states))
   AND (:args::jsonb = '{}' OR r.given_args @> :args)
   AND (:since::timestamptz IS NULL OR r.finished_at IS NULL OR r.finished_at > :since)
   AND r.created_at < :until::timestamptz
   AND r.created_at <= :after_time::timestamptz
   AND (r.created_at < :after_time OR r.request_id > :after_id)
 ORDER BY r.created_at DESC, r.request_id
 LIMIT :limit OFFSET :offset;
