-- name: waiting_requests
-- Requests that a live runner can run that is not known to be unavailable, in the order in which
-- they are assigned. Of a type with a limit only as many are returned as the limit leaves room for.
-- Requests that no such runner can run are left out, or enough of them would hide those that wait
-- behind them. A runner without job types has not said which it has. No wait is longer than 5
-- minutes: one that seems to be began before the database's clock was set back. As a join, and not a value, the
-- condition on kinds would make the planner sort all that waits.
WITH kinds AS MATERIALIZED (
    SELECT DISTINCT features, job_types
      FROM request_manager.runners
     WHERE gone_at IS NULL AND NOT draining AND runner_id <> ALL (:unavailable::text[])
), unlimited AS (
    SELECT r.request_id, false AS limited, r.required_features, r.job_types, r.priority,
           r.created_at
      FROM request_manager.requests AS r
     WHERE r.state IN (1, 7) AND r.runner_id IS NULL AND r.wish IS NULL
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
     WHERE r.state IN (1, 7) AND r.runner_id IS NULL AND r.wish IS NULL
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
-- Gives each request that still waits, and whose type has no limit, to a runner, under its next
-- epoch. Whoever does that has a while to hear from the runner that it has it.
UPDATE request_manager.requests AS r
   SET runner_id = g.runner_id, epoch = r.epoch + 1, claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :runner_ids::text[]) AS g (request_id, runner_id)
 WHERE r.request_id = g.request_id
   AND r.state IN (1, 7) AND r.runner_id IS NULL AND r.wish IS NULL AND r.max_running IS NULL
   AND (r.not_before BETWEEN now() AND now() + interval '5 minutes') IS NOT TRUE
RETURNING r.request_id, r.runner_id, r.epoch, r.state = 7 OR r.rerun_of IS NOT NULL AS resumed;

-- name: lock_limits
-- Lets one request manager at a time count against the limits.
SELECT pg_advisory_xact_lock(hashtext('spincycle.request_manager.limits'));

-- name: assign_limited_requests
-- The same for requests whose type has a limit, as far as it leaves room. The counting is right
-- only while nobody else counts: see lock_limits.
UPDATE request_manager.requests AS r
   SET runner_id = c.runner_id, epoch = r.epoch + 1, claimed_until = now() + :lease::interval
  FROM (SELECT w.request_id, g.runner_id, w.max_running, w.type,
               row_number() OVER (PARTITION BY w.type
                                  ORDER BY w.priority DESC, w.created_at, w.request_id) AS place
          FROM request_manager.requests AS w
          JOIN unnest(:request_ids::text[], :runner_ids::text[]) AS g (request_id, runner_id)
               USING (request_id)
         WHERE w.state IN (1, 7) AND w.runner_id IS NULL AND w.wish IS NULL
           AND w.max_running IS NOT NULL
           AND (w.not_before BETWEEN now() AND now() + interval '5 minutes') IS NOT TRUE) AS c
 WHERE r.request_id = c.request_id
   AND c.place <= c.max_running - (SELECT count(*)
                                     FROM request_manager.requests AS a
                                    WHERE a.type = c.type AND a.max_running IS NOT NULL
                                      AND a.runner_id IS NOT NULL)
RETURNING r.request_id, r.runner_id, r.epoch, r.state = 7 OR r.rerun_of IS NOT NULL AS resumed;

-- name: unassign_requests
-- Takes back requests that their runner refused, so that another one can have them.
UPDATE request_manager.requests AS r
   SET runner_id = NULL,
       claimed_until = NULL,
       -- A wish that came in the meantime is met now that no runner has the request.
       state = COALESCE(r.wish, r.state),
       finished_at = CASE WHEN r.wish = 6 THEN GREATEST(now(), r.created_at, r.started_at) END,
       wish = NULLIF(r.wish, 6)
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
   AND NOT r.orphaned
RETURNING r.request_id, r.state;

-- name: accept_requests
-- Notes that the runners took what they were given. What has ended since is left alone. The note
-- need not outlive a crash of the server: the request would be sent again, and accepted again.
WITH accepted AS (
    UPDATE request_manager.requests AS r
       SET state = 2, started_at = COALESCE(r.started_at, GREATEST(now(), r.created_at)),
           reason = '', claimed_until = NULL, not_before = NULL
      FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
     WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
       AND r.runner_id IS NOT NULL AND NOT r.orphaned
 RETURNING r.request_id, r.wish
), resumed AS (
    DELETE FROM request_manager.suspended_job_chains AS s
     USING accepted AS a
     WHERE s.request_id = a.request_id
)
SELECT request_id, wish, set_config('synchronous_commit', 'off', true) FROM accepted;

-- name: fail_requests
-- Ends requests that no runner can ever run.
UPDATE request_manager.requests AS r
   SET state = 4, finished_at = GREATEST(now(), r.created_at, r.started_at), runner_id = NULL,
       wish = NULL, reason = g.reason, claimed_until = NULL, orphaned = false
  FROM unnest(:request_ids::text[], :epochs::bigint[], :reasons::text[])
    AS g (request_id, epoch, reason)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 2, 7)
RETURNING r.request_id;

-- name: hold_assignments
-- Sets until when requests that were given to a runner are left to the one who sends them.
UPDATE request_manager.requests AS r
   SET claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
   AND NOT r.orphaned;

-- name: queue
-- What waits for a runner: new requests, requests to be resumed, and the seconds since the oldest
-- new one was made. What waits for its type's limit is left out: more runners would not help it.
SELECT count(*) FILTER (WHERE state = 1) AS pending,
       count(*) FILTER (WHERE state = 7) AS suspended,
       greatest(extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 1)), 0)::float8
           AS oldest
  FROM request_manager.requests
 WHERE state IN (1, 7) AND runner_id IS NULL AND wish IS NULL AND max_running IS NULL;
