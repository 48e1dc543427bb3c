-- name: waiting_requests
-- Waiting requests that an available live runner can run, in the order in which they are assigned.
-- Of a type with a limit only as many are returned as the limit has room for. Requests that no such
-- runner can run are left out, or enough of them would hide those behind them. A runner without job
-- types has not reported them and may get any request. No wait is longer than 5 minutes: a longer
-- one began before the clock of the database was set back. As a join, and not a value, the
-- condition on kinds would make the planner sort everything that waits.
WITH kinds AS MATERIALIZED (
    SELECT DISTINCT features, job_types
      FROM request_manager.runners
     WHERE deregistered_at IS NULL AND NOT draining AND runner_id <> ALL (:unavailable::text[])
), unlimited AS (
    SELECT r.request_id, false AS limited, r.required_features, r.job_types, r.priority,
           r.created_at
      FROM request_manager.requests AS r
     WHERE r.state IN (1, 7) AND r.runner_id IS NULL AND r.desired_state IS NULL
       AND r.max_running IS NULL
       AND (r.not_before BETWEEN now() AND now() + interval '5 minutes') IS NOT TRUE
       AND (SELECT bool_or(k.features @> r.required_features
                           AND (k.job_types = '{}' OR k.job_types @> r.job_types))
              FROM kinds AS k)
     ORDER BY r.priority DESC, r.created_at, r.request_id
     LIMIT :batch
), limited AS (
    SELECT r.request_id, true AS limited, r.required_features, r.job_types, r.priority,
           r.created_at, r.type, r.max_running,
           row_number() OVER (PARTITION BY r.type, r.max_running
                              ORDER BY r.priority DESC, r.created_at, r.request_id) AS place
      FROM request_manager.requests AS r
     WHERE r.state IN (1, 7) AND r.runner_id IS NULL AND r.desired_state IS NULL
       AND r.max_running IS NOT NULL
       AND (r.not_before BETWEEN now() AND now() + interval '5 minutes') IS NOT TRUE
       AND (SELECT bool_or(k.features @> r.required_features
                           AND (k.job_types = '{}' OR k.job_types @> r.job_types))
              FROM kinds AS k)
)
SELECT request_id, limited, required_features, job_types
  FROM (SELECT request_id, limited, required_features, job_types, priority, created_at
          FROM unlimited
         UNION ALL
        SELECT l.request_id, l.limited, l.required_features, l.job_types, l.priority, l.created_at
          FROM limited AS l
         WHERE l.place <= l.max_running - (SELECT count(*)
                                             FROM request_manager.requests AS a
                                            WHERE a.type = l.type AND a.max_running IS NOT NULL
                                              AND a.runner_id IS NOT NULL)) AS w
 ORDER BY priority DESC, created_at, request_id
 LIMIT :batch;

-- name: assign_requests
-- Assigns requests that still wait, and whose type has no limit, to runners, each under its next
-- epoch. The sender has `lease` to get them accepted.
UPDATE request_manager.requests AS r
   SET runner_id = g.runner_id, epoch = r.epoch + 1, claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :runner_ids::text[]) AS g (request_id, runner_id)
 WHERE r.request_id = g.request_id
   AND r.state IN (1, 7) AND r.runner_id IS NULL AND r.desired_state IS NULL
   AND r.max_running IS NULL
   AND (r.not_before BETWEEN now() AND now() + interval '5 minutes') IS NOT TRUE
RETURNING r.request_id, r.runner_id, r.epoch, r.state = 7 OR r.rerun_of IS NOT NULL AS resumed;

-- name: lock_limits
-- Lets one request manager at a time count against the limits.
SELECT pg_advisory_xact_lock(hashtext('spincycle.request_manager.limits'));

-- name: assign_limited_requests
-- The same for requests whose type has a limit, as far as it has room. The count is correct only
-- under lock_limits.
UPDATE request_manager.requests AS r
   SET runner_id = c.runner_id, epoch = r.epoch + 1, claimed_until = now() + :lease::interval
  FROM (SELECT w.request_id, g.runner_id, w.max_running, w.type,
               row_number() OVER (PARTITION BY w.type
                                  ORDER BY w.priority DESC, w.created_at, w.request_id) AS place
          FROM request_manager.requests AS w
          JOIN unnest(:request_ids::text[], :runner_ids::text[]) AS g (request_id, runner_id)
               USING (request_id)
         WHERE w.state IN (1, 7) AND w.runner_id IS NULL AND w.desired_state IS NULL
           AND w.max_running IS NOT NULL
           AND (w.not_before BETWEEN now() AND now() + interval '5 minutes') IS NOT TRUE) AS c
 WHERE r.request_id = c.request_id
   AND c.place <= c.max_running - (SELECT count(*)
                                     FROM request_manager.requests AS a
                                    WHERE a.type = c.type AND a.max_running IS NOT NULL
                                      AND a.runner_id IS NOT NULL)
RETURNING r.request_id, r.runner_id, r.epoch, r.state = 7 OR r.rerun_of IS NOT NULL AS resumed;

-- name: unassign_requests
-- Unassigns requests that their runners refused, so that other runners can get them.
UPDATE request_manager.requests AS r
   SET runner_id = NULL,
       claimed_until = NULL,
       -- A desired state that was set since is reached now, since no runner has the request.
       state = COALESCE(r.desired_state, r.state),
       suspended_at = CASE WHEN r.desired_state = 7 THEN now() END,
       finished_at = CASE WHEN r.desired_state = 6
                          THEN GREATEST(now(), r.created_at, r.started_at) END,
       desired_state = NULLIF(r.desired_state, 6)
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
   AND NOT r.orphaned
RETURNING r.request_id, r.state;

-- name: accept_requests
-- Stores that runners accepted their requests. Requests that have ended since are not changed. This
-- need not survive a crash of the server: the request would be sent and accepted again.
WITH accepted AS (
    UPDATE request_manager.requests AS r
       SET state = 2, started_at = COALESCE(r.started_at, GREATEST(now(), r.created_at)),
           reason = '', claimed_until = NULL, not_before = NULL
      FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
     WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
       AND r.runner_id IS NOT NULL AND NOT r.orphaned
 RETURNING r.request_id, r.desired_state
), resumed AS (
    DELETE FROM request_manager.suspended_job_chains AS s
     USING accepted AS a
     WHERE s.request_id = a.request_id
)
SELECT request_id, desired_state, set_config('synchronous_commit', 'off', true) FROM accepted;

-- name: fail_requests
-- Fails requests that no runner can run.
WITH failed AS (
    UPDATE request_manager.requests AS r
       SET state = 4, finished_at = GREATEST(now(), r.created_at, r.started_at), runner_id = NULL,
           desired_state = NULL, reason = g.reason, claimed_until = NULL, orphaned = false
      FROM unnest(:request_ids::text[], :epochs::bigint[], :reasons::text[])
        AS g (request_id, epoch, reason)
     WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 2, 7)
 RETURNING r.request_id, r.type, g.reason
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'fail', request_id, type, left(reason, 1000) FROM failed
)
SELECT request_id FROM failed;

-- name: hold_assignments
-- Extends the claims of the senders on assigned requests.
UPDATE request_manager.requests AS r
   SET claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
   AND NOT r.orphaned;

-- name: queue
-- Number of new requests and of requests to resume that wait for a runner, and the age in seconds
-- of the oldest new one. Requests that wait for the limit of their type are left out: more runners
-- would not help them.
SELECT count(*) FILTER (WHERE state = 1) AS pending,
       count(*) FILTER (WHERE state = 7) AS suspended,
       greatest(extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 1)), 0)::float8
           AS oldest
  FROM request_manager.requests
 WHERE state IN (1, 7) AND runner_id IS NULL AND desired_state IS NULL AND max_running IS NULL;
