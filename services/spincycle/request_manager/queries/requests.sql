-- name: create_request
-- Stores a request with its archive; returns its id if it is new. It is not stored if its
-- idempotency key is already known, or if its user has open_limit requests that have not ended. With
-- a runner_id it is assigned to that runner, as by
-- assign_requests.
WITH stored AS (
    INSERT INTO request_manager.requests
           (request_id, type, state, user_name, created_at, total_jobs, priority, spec_revision,
            plan_hash, given_args, idempotency_key, content_hash, max_running,
            required_features, job_types, runner_id, epoch, claimed_until)
    SELECT :request_id, :type, 1, :user, :created_at::timestamptz, :total_jobs::integer,
           :priority::integer, :spec_revision, :plan_hash, :given_args::jsonb, :idempotency_key,
           :content_hash, :max_running::integer, :required_features::text[], :job_types::text[],
           :runner_id::text, CASE WHEN :runner_id::text IS NULL THEN 0 ELSE 1 END,
           CASE WHEN :runner_id::text IS NOT NULL THEN now() + :lease::interval END
     WHERE :open_limit::integer IS NULL
        OR :open_limit > (SELECT count(*)
                            FROM request_manager.requests
                           WHERE user_name = :user AND state IN (1, 2, 7))
        ON CONFLICT DO NOTHING
 RETURNING request_id
), archived AS (
    INSERT INTO request_manager.request_archives
           (request_id, create_request, args, job_chain, sealed_under)
    SELECT request_id, :create_request::jsonb, :args::jsonb, :job_chain::bytea, :sealed_under::text
      FROM stored
), audited AS (
    INSERT INTO request_manager.audit
           (user_name, authenticator, roles, peer, rule, call_id, on_behalf_of, action, request_id,
            request_type, plan_hash)
    SELECT :caller, :authenticator, :roles::text[], :peer, :rule, :call_id, :on_behalf_of, 'start',
           request_id, :type, :approved_plan_hash
      FROM stored
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
 RETURNING request_id, rerun_of, type
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
    INSERT INTO request_manager.audit
           (user_name, authenticator, roles, peer, rule, call_id, on_behalf_of, action, request_id,
            request_type, job_id, reason)
    SELECT :caller, :authenticator, :roles::text[], :peer, :rule, :call_id, :on_behalf_of, g.action,
           g.request_id, s.type, g.job_id, g.reason
      FROM stored AS s
     CROSS JOIN LATERAL
           (VALUES (:action, s.rerun_of, :job_id, :reason),
                   ('start', s.request_id, '', 'rerun of ' || s.rerun_of))
                AS g (action, request_id, job_id, reason)
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
-- The request that an earlier call of the user, or of a caller without a name, created with the key.
SELECT request_id, content_hash
  FROM request_manager.requests
 WHERE user_name IN (:user, '') AND idempotency_key = :idempotency_key
 ORDER BY user_name DESC
 LIMIT 1;

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

-- name: existing_requests
-- Those of some requests that exist and have one of the types, if types are given.
SELECT request_id
  FROM request_manager.requests
 WHERE request_id = ANY (:request_ids::text[])
   AND (:types::text[] IS NULL OR type = ANY (:types));

-- name: running_requests
-- Running requests of some types, and their runners.
SELECT request_id, runner_id
  FROM request_manager.requests
 WHERE state = 2 AND runner_id IS NOT NULL AND type = ANY (:types::text[])
   AND (:request_id::text = '' OR request_id = :request_id);

-- name: open_requests
-- Number of requests of a user that have not ended.
SELECT count(*) AS open
  FROM request_manager.requests
 WHERE user_name = :user AND state IN (1, 2, 7);

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
   AND (:types::text[] IS NULL OR r.type = ANY (:types))
   AND (:user::text = '' OR r.user_name = :user)
   AND (:states::smallint[] = '{}' OR r.state = ANY (:states))
   AND (:args::jsonb = '{}' OR r.given_args @> :args)
   AND (:since::timestamptz IS NULL OR r.finished_at IS NULL OR r.finished_at > :since)
   AND r.created_at < :until::timestamptz
   AND r.created_at <= :after_time::timestamptz
   AND (r.created_at < :after_time OR r.request_id > :after_id)
 ORDER BY r.created_at DESC, r.request_id
 LIMIT :limit OFFSET :offset;

-- name: list_requests_of_types
-- As list_requests, of some types. It reads a page of each type: types that are seldom run may have
-- only requests that are older than millions of others.
SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at, r.finished_at,
       r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch, r.runner_id, r.priority,
       left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of, r.desired_state,
       r.max_running, CASE WHEN :with_args::boolean THEN r.given_args ELSE '{}' END AS given_args,
       r.required_features, r.job_types,
       n.address AS runner_address
  FROM (SELECT of_type.created_at, of_type.request_id
          FROM unnest(:types::text[]) AS t (type)
         CROSS JOIN LATERAL
               (SELECT q.created_at, q.request_id
                  FROM request_manager.requests AS q
                 WHERE q.type = t.type
                   AND (:states::smallint[] = '{}' OR q.state = ANY (:states))
                   AND (:since::timestamptz IS NULL OR q.finished_at IS NULL
                        OR q.finished_at > :since)
                   AND q.created_at < :until::timestamptz
                   AND q.created_at <= :after_time::timestamptz
                   AND (q.created_at < :after_time OR q.request_id > :after_id)
                 ORDER BY q.created_at DESC, q.request_id
                 LIMIT :limit::bigint + :offset::bigint) AS of_type
         ORDER BY of_type.created_at DESC, of_type.request_id
         LIMIT :limit OFFSET :offset) AS page
  JOIN request_manager.requests AS r USING (request_id)
  LEFT JOIN request_manager.runners AS n USING (runner_id)
 ORDER BY r.created_at DESC, r.request_id;
