-- name: register_runner
-- Makes a runner known, or replaces what it said of itself. A runner that was given up stays so.
INSERT INTO request_manager.runners
       (runner_id, address, max_chains, max_jobs, job_types, version, features)
VALUES (:runner_id, :address, :max_chains, :max_jobs, :job_types::text[], :version,
        :features::text[])
    ON CONFLICT (runner_id) DO UPDATE
   SET address = excluded.address, max_chains = excluded.max_chains,
       max_jobs = excluded.max_jobs, job_types = excluded.job_types,
       version = excluded.version, features = excluded.features, beat_at = now()
 WHERE runners.gone_at IS NULL
RETURNING runner_id;

-- name: beat_runner
-- Notes a sign of life, and answers what is wished of the runner's requests. A runner that was
-- given up is not answered.
UPDATE request_manager.runners
   SET beat_at = now(), chains = :chains, jobs = :jobs, draining = :draining, behind = :behind,
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
              AS chains_digest;

-- name: live_runners
-- Runners that are not gone, with how many requests each was given by whichever request manager;
-- what a runner says of itself is as old as its last beat.
SELECT n.runner_id, n.address, n.max_chains, n.max_jobs, n.chains, n.jobs, n.draining, n.behind,
       n.features, n.job_types,
       now() - n.beat_at AS silence,
       (SELECT count(*)
          FROM request_manager.requests AS r
         WHERE r.runner_id = n.runner_id) AS requests
  FROM request_manager.runners AS n
 WHERE n.gone_at IS NULL;

-- name: give_up_runners
-- Runners that were silent for too long. They are gone for good, even if they beat again.
-- Silence counts only while some request manager has been looking without a gap, this look
-- included: nobody could have heard them otherwise. Less of it will do if another runner has
-- come since at the very address: a process that lives does not give its address away.
-- Answers those given up, and how long none of the others can be given up for.
WITH heard AS (
    INSERT INTO request_manager.hearing AS h (since, last_at) VALUES (now(), now())
        ON CONFLICT (only_row) DO UPDATE
       SET since = CASE WHEN h.last_at < now() - :gap::interval THEN now() ELSE h.since END,
           last_at = now()
 RETURNING since
), silent AS (
    SELECT n.runner_id, GREATEST(n.beat_at, heard.since) AS silent_since,
           CASE WHEN EXISTS (SELECT
                               FROM request_manager.runners AS m
                              WHERE m.address = n.address AND m.runner_id <> n.runner_id
                                AND m.registered_at > n.beat_at
                                AND m.gone_at IS NULL)
                THEN :silence_if_replaced::interval
                ELSE :silence::interval END AS silence_limit
      FROM request_manager.runners AS n, heard
     WHERE n.gone_at IS NULL
), given_up AS (
    UPDATE request_manager.runners AS n
       SET gone_at = now()
      FROM silent AS s
     WHERE n.runner_id = s.runner_id AND n.gone_at IS NULL
       AND n.beat_at <= s.silent_since
       AND s.silent_since < now() - s.silence_limit
 RETURNING n.runner_id
)
SELECT ARRAY(SELECT runner_id FROM given_up) AS given_up,
       (SELECT min(s.silent_since) + :silence_if_replaced::interval - now()
          FROM silent AS s
         WHERE s.runner_id NOT IN (SELECT runner_id FROM given_up)) AS next_due;
