-- name: register_runner
-- Registers a runner, or replaces the properties of one that the same identity registered. A
-- deregistered runner stays deregistered.
INSERT INTO request_manager.runners
       (runner_id, address, max_chains, max_jobs, job_types, version, features, observer, heartbeat,
        identity)
VALUES (:runner_id, :address, :max_chains, :max_jobs, :job_types::text[], :version,
        :features::text[], :observer, :heartbeat, :identity)
    ON CONFLICT (runner_id) DO UPDATE
   SET address = excluded.address, max_chains = excluded.max_chains,
       max_jobs = excluded.max_jobs, job_types = excluded.job_types,
       version = excluded.version, features = excluded.features,
       observer = excluded.observer, heartbeat = excluded.heartbeat
 WHERE runners.deregistered_at IS NULL AND runners.identity = excluded.identity
RETURNING clock_timestamp() AS stored_at;

-- name: store_heartbeat
-- Stores a heartbeat, and returns the desired states of the runner's requests. Returns nothing for
-- a runner that is deregistered or unknown, or that another identity registered.
UPDATE request_manager.runners
   SET observer = :observer, heartbeat = :heartbeat, chains = :chains, jobs = :jobs,
       draining = :draining, journal_lag = :journal_lag, loop_lag = :loop_lag,
       deregistered_at = CASE WHEN :leaving THEN now() END
 WHERE runner_id = :runner_id AND deregistered_at IS NULL AND identity = :identity
RETURNING ARRAY(SELECT r.request_id FROM request_manager.requests AS r
                 WHERE r.runner_id = :runner_id AND r.desired_state = 6) AS stop,
          ARRAY(SELECT r.request_id FROM request_manager.requests AS r
                 WHERE r.runner_id = :runner_id AND r.desired_state = 7) AS suspend,
          -- As HeartbeatRequest.chains_digest of the contract.
          COALESCE((SELECT bit_xor(('x' || left(md5(r.request_id || ' ' || r.epoch), 16))
                                   ::bit(64)::bigint)
                      FROM request_manager.requests AS r
                     WHERE r.runner_id = :runner_id AND r.state = 2 AND NOT r.orphaned), 0)
              AS chains_digest,
          clock_timestamp() AS stored_at;

-- name: runner_owner
-- The identity that registered a runner, and whether the runner is live.
SELECT identity, deregistered_at IS NULL AS is_live
  FROM request_manager.runners
 WHERE runner_id = :runner_id;

-- name: live_runners
-- Live runners, each with the number of requests that all request managers assigned to it. Their
-- load is as old as their last heartbeats.
SELECT n.runner_id, n.address, n.max_chains, n.max_jobs, n.chains, n.jobs, n.draining,
       n.journal_lag, n.loop_lag, n.features, n.job_types, n.observer, n.heartbeat,
       n.identity,
       (SELECT count(*)
          FROM request_manager.requests AS r
         WHERE r.runner_id = n.runner_id) AS requests
  FROM request_manager.runners AS n
 WHERE n.deregistered_at IS NULL;

-- name: evict_runners
-- Evicts those of the given runners whose last heartbeat is still the given one: a heartbeat that
-- arrived since counts. They stay deregistered even if they send further heartbeats. Returns all
-- runners that were live, those just evicted included. Evictions are audited.
WITH evicted AS (
    UPDATE request_manager.runners AS n
       SET deregistered_at = now()
      FROM unnest(:runner_ids::text[], :observers::text[], :heartbeats::bigint[])
        AS s (runner_id, observer, heartbeat)
     WHERE n.runner_id = s.runner_id AND n.deregistered_at IS NULL
       AND n.observer = s.observer AND n.heartbeat = s.heartbeat
 RETURNING n.runner_id, n.address, n.identity
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, reason)
    SELECT '', 'evict', '',
           rtrim('runner ' || runner_id || ' at ' || address || ' ' || identity)
      FROM evicted
)
SELECT n.runner_id, n.address, n.registration, n.observer, n.heartbeat, n.identity,
       e.runner_id IS NOT NULL AS evicted
  FROM request_manager.runners AS n
  LEFT JOIN evicted AS e USING (runner_id)
 WHERE n.deregistered_at IS NULL;
