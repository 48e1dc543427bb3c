-- name: create_request
-- Stores a request with its archive; answers its id if it is new. One whose idempotency key is
-- known already is not stored. One that comes with a runner is given to it, as assign_requests
-- does.
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
    INSERT INTO request_manager.request_archives (request_id, create_request, args, job_chain)
    SELECT request_id, :create_request::jsonb, :args::jsonb, :job_chain::bytea FROM stored
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id)
    SELECT user_name, 'create', request_id FROM stored
)
SELECT request_id FROM stored;

-- name: create_again
-- Stores a request that runs another one again, with what it keeps of it.
WITH stored AS (
    INSERT INTO request_manager.requests
           (request_id, type, state, user_name, created_at, total_jobs, finished_jobs, priority,
            max_running, required_features, job_types, spec_revision, plan_hash, given_args,
            idempotency_key, content_hash, rerun_of)
    SELECT :request_id, type, 1, :user, :created_at::timestamptz, total_jobs,
           :finished_jobs::integer, priority, max_running, required_features,
           :job_types::text[], spec_revision, plan_hash, given_args, :idempotency_key,
           :content_hash, request_id
      FROM request_manager.requests
     WHERE request_id = :rerun_of
 RETURNING request_id, rerun_of
), archived AS (
    INSERT INTO request_manager.request_archives (request_id, create_request, args, job_chain)
    SELECT s.request_id, a.create_request, a.args, :job_chain
      FROM stored AS s
      JOIN request_manager.request_archives AS a ON a.request_id = s.rerun_of
), kept AS (
    INSERT INTO request_manager.suspended_job_chains (request_id, suspended_job_chain)
    SELECT request_id, :suspended_job_chain FROM stored
)
INSERT INTO request_manager.audit (user_name, action, request_id, job_id, reason)
SELECT :user, :action, rerun_of, :job_id, :reason FROM stored;

-- name: request_with_idempotency_key
-- The request that an earlier call with the key made.
SELECT request_id, content_hash
  FROM request_manager.requests
 WHERE user_name = :user AND idempotency_key = :idempotency_key;

-- name: get_requests
-- Requests by id, with the address of the runner that has each. Rows of older versions have reasons
-- of megabytes.
SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at, r.finished_at,
       r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch, r.runner_id, r.priority,
       left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of, r.wish,
       r.max_running, r.given_args, r.required_features, r.job_types,
       n.address AS runner_address
  FROM request_manager.requests AS r
  LEFT JOIN request_manager.runners AS n USING (runner_id)
 WHERE r.request_id = ANY (:request_ids::text[]);

-- name: get_args
-- Arguments of a request as they were understood.
SELECT args FROM request_manager.request_archives WHERE request_id = :request_id;

-- name: get_job_chains
-- Archived chains by request.
SELECT request_id, job_chain
  FROM request_manager.request_archives
 WHERE request_id = ANY (:request_ids::text[]);

-- name: get_chain_portion
-- Archived chains by request id, until so many bytes are together.
SELECT request_id, job_chain
  FROM (SELECT request_id, job_chain,
               sum(octet_length(job_chain)) OVER (ORDER BY request_id COLLATE "C")
                   - octet_length(job_chain) AS before
          FROM request_manager.request_archives
         WHERE request_id = ANY (:request_ids::text[])) AS found
 WHERE before < :most::bigint
 ORDER BY request_id COLLATE "C";

-- name: ask_for
-- Keeps wishes to stop or suspend requests; what no runner has is there at once. A wish to stop
-- is never taken back by one to suspend. Answers those that have not ended.
WITH given AS (
    SELECT *
      FROM unnest(:request_ids::text[], :wishes::smallint[], :users::text[], :reasons::text[])
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

-- name: let_go_on
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

-- name: any_running
-- Whether some request is running.
SELECT EXISTS (SELECT FROM request_manager.requests WHERE state = 2) AS running;

-- name: list_requests
-- A page of requests that match everything that is set, newest first.
SELECT r.request_id, r.type, r.state, r.user_name, r.created_at, r.started_at, r.finished_at,
       r.total_jobs, r.finished_jobs, r.rolled_back_jobs, r.epoch, r.runner_id, r.priority,
       left(r.reason, 4097) AS reason, r.spec_revision, r.plan_hash, r.rerun_of, r.wish,
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

-- name: notify
-- Tells the other processes something. Nothing of that need be on disk.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, :payload);
