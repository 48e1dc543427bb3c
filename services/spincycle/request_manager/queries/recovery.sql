-- name: claim_orphans
-- Claims requests of runners that are deregistered or unknown, under their next epoch, so that no
-- report of the old runner counts. One request manager claims each, for `lease`; the next one
-- continues under the same epoch. No claim is longer than 8 s: a longer one was made before the
-- clock of the database was set back, and has ended.
WITH claimed AS (
    UPDATE request_manager.requests AS r
       SET epoch = r.epoch + CASE WHEN r.orphaned THEN 0 ELSE 1 END,
           orphaned = true,
           claimed_until = now() + :lease::interval
      FROM (SELECT o.request_id, o.orphaned AS was_orphaned
              FROM request_manager.requests AS o
              JOIN (SELECT request_id FROM request_manager.requests WHERE orphaned
                     UNION
                    SELECT h.request_id
                      FROM request_manager.requests AS h
                      LEFT JOIN request_manager.runners AS n USING (runner_id)
                     WHERE h.runner_id IS NOT NULL
                       AND (n.deregistered_at IS NOT NULL OR n.runner_id IS NULL)) AS lost
                   USING (request_id)
             WHERE (o.claimed_until BETWEEN now() AND now() + interval '8 seconds') IS NOT TRUE
             ORDER BY o.priority DESC, o.request_id
             LIMIT :batch
               FOR UPDATE OF o SKIP LOCKED) AS orphan
     WHERE r.request_id = orphan.request_id
       AND (r.orphaned OR NOT EXISTS (SELECT
                                        FROM request_manager.runners AS n
                                       WHERE n.runner_id = r.runner_id
                                         AND n.deregistered_at IS NULL))
 RETURNING r.request_id, r.type, r.epoch, r.state, r.desired_state, r.runner_id, r.losses_since,
           r.started_at, orphan.was_orphaned
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'fence', request_id, type,
           concat('runner ', runner_id, ' is lost; epoch raised to ', epoch)
      FROM claimed
     WHERE NOT was_orphaned
)
SELECT request_id, epoch, state, desired_state, runner_id, losses_since, started_at FROM claimed;

-- name: claim_unanswered
-- Claims requests that their runners may or may not have accepted, in the same way.
WITH claimed AS (
    UPDATE request_manager.requests AS r
       SET epoch = r.epoch + 1, orphaned = true, claimed_until = now() + :lease::interval
      FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
     WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 7)
       AND r.runner_id IS NOT NULL AND NOT r.orphaned
 RETURNING r.request_id, r.type, r.epoch, r.state, r.desired_state, r.runner_id, r.losses_since,
           r.started_at
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'fence', request_id, type,
           concat('runner ', runner_id, ' may have accepted it; epoch raised to ', epoch)
      FROM claimed
)
SELECT request_id, epoch, state, desired_state, runner_id, losses_since, started_at FROM claimed;

-- name: outrun_fence
-- Raises the epoch of a claimed request above the fence of its journal.
WITH raised AS (
    UPDATE request_manager.requests
       SET epoch = :to_epoch::bigint, losses_since = :to_epoch::bigint, claimed_until = NULL
     WHERE request_id = :request_id AND epoch = :epoch AND orphaned
 RETURNING request_id, type, epoch
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'fence', request_id, type,
           concat('epoch raised to ', epoch, ', above the fence of the journal')
      FROM raised
)
SELECT request_id FROM raised;

-- name: hold_claims
-- Extends the claims on orphaned requests.
UPDATE request_manager.requests AS r
   SET claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.orphaned;
