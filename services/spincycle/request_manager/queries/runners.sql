-- name: register_runner
-- Makes a runner known, or replaces what it said of itself. A runner that was given up stays so.
INSERT INTO request_manager.runners
       (runner_id, address, max_chains, max_jobs, job_types, version, features, observer, heartbeat)
VALUES (:runner_id, :address, :max_chains, :max_jobs, :job_types::text[], :version,
        :features::text[], :observer, :heartbeat)
    ON CONFLICT (runner_id) DO UPDATE
   SET address = excluded.address, max_chains = excluded.max_chains,
       max_jobs = excluded.max_jobs, job_types = excluded.job_types,
       version = excluded.version, features = excluded.features,
       observer = excluded.observer, heartbeat = excluded.heartbeat
 WHERE runners.gone_at IS NULL
RETURNING clock_timestamp() AS stored_at;

-- name: beat_runner
-- Notes a sign of life, and answers what is wished of the runner's requests. A runner that was
-- given up is not answered.
UPDATE request_manager.runners
   SET observer = :observer, heartbeat = :heartbeat, chains = :chains, jobs = :jobs,
       draining = :draining, behind = :behind,
       gone_at = CASE WHEN :leaving THEN now() END
 WHERE runner_id = :runner_id AND gone_at IS NULL
RETURNING ARRAY(SELECT r.request_id FROM request_manager.requests AS r
                 WHERE r.runner_id = :runner_id AND r.wish = 6) AS stop,
          ARRAY(SELECT r.request_id FROM request_manager.requests AS r
                 WHERE r.runner_id = :runner_id AND r.wish = 7) AS suspend,
          -- As HeartbeatRequest.chains_digest of the contract.
          COALESCE((SELECT bit_xor(('x' || left(md5(r.request_id || ' ' || r.epoch), 16))
                                   ::bit(64)::bigint)
                      FROM request_manager.requests AS r
                     WHERE r.runner_id = :runner_id AND r.state = 2 AND NOT r.orphaned), 0)
              AS chains_digest,
          clock_timestamp() AS stored_at;

-- name: live_runners
-- Runners that are not gone, with how many requests each was given by whichever request manager;
-- what a runner says of itself is as old as its last beat.
SELECT n.runner_id, n.address, n.max_chains, n.max_jobs, n.chains, n.jobs, n.draining, n.behind,
       n.features, n.job_types,
       n.observer, n.heartbeat,
       (SELECT count(*)
          FROM request_manager.requests AS r
         WHERE r.runner_id = n.runner_id) AS requests
  FROM request_manager.runners AS n
 WHERE n.gone_at IS NULL;

-- name: give_up_runners
-- Gives up those of the given runners whose last heartbeat is still the given one, so that one that
-- came in meanwhile counts. They are gone for good, even if they beat again. Answers all runners
-- that were not gone, those just given up included.
WITH given_up AS (
    UPDATE request_manager.runners AS n
       SET gone_at = now()
      FROM unnest(:runner_ids::text[], :observers::text[], :heartbeats::bigint[])
        AS s (runner_id, observer, heartbeat)
     WHERE n.runner_id = s.runner_id AND n.gone_at IS NULL
       AND n.observer = s.observer AND n.heartbeat = s.heartbeat
 RETURNING n.runner_id
)
SELECT n.runner_id, n.address, n.registration, n.observer, n.heartbeat,
       g.runner_id IS NOT NULL AS given_up
  FROM request_manager.runners AS n
  LEFT JOIN given_up AS g USING (runner_id)
 WHERE n.gone_at IS NULL;
