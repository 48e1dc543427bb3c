-- name: chains_of_runner
-- Requests that are RUNNING on a runner, with the epochs of their assignments.
SELECT request_id, epoch
  FROM request_manager.requests
 WHERE runner_id = :runner_id AND state = 2 AND NOT orphaned;

-- name: chain_holders
-- States and runners of requests according to their rows.
SELECT request_id, epoch, state, COALESCE(runner_id, '') AS runner_id, orphaned
  FROM request_manager.requests
 WHERE request_id = ANY (:request_ids::text[]);

-- name: orphan_missing
-- Orphans requests that are RUNNING on a runner which does not hold their chains.
WITH orphaned AS (
    UPDATE request_manager.requests AS r
       SET epoch = r.epoch + 1, orphaned = true, claimed_until = NULL
      FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
     WHERE r.request_id = g.request_id AND r.epoch = g.epoch
       AND r.runner_id = :runner_id AND r.state = 2 AND NOT r.orphaned
 RETURNING r.request_id, r.type, r.epoch, r.runner_id
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'reconcile', request_id, type,
           concat('runner ', runner_id, ' does not hold its chain; epoch raised to ', epoch)
      FROM orphaned
)
SELECT request_id FROM orphaned;

-- name: orphan_strays
-- Orphans requests whose chains a runner holds under an epoch that their rows have not reached or
-- do not assign to it. The new epoch is above that of the runner. A request that is not assigned to
-- the runner is orphaned only if the runner proved its own assignment.
WITH orphaned AS (
    UPDATE request_manager.requests AS r
       SET epoch = g.epoch + 1, losses_since = g.epoch + 1, orphaned = true, claimed_until = NULL,
           runner_id = :runner_id
      FROM unnest(:request_ids::text[], :epochs::bigint[], :proven::boolean[])
        AS g (request_id, epoch, proven)
     WHERE r.request_id = g.request_id AND r.epoch <= g.epoch AND r.state IN (1, 2, 7)
       AND (g.proven OR r.runner_id = :runner_id)
       AND NOT (r.epoch = g.epoch AND r.runner_id IS NOT DISTINCT FROM :runner_id
                AND NOT r.orphaned)
 RETURNING r.request_id, r.type, r.epoch, r.runner_id
), audited AS (
    INSERT INTO request_manager.audit (user_name, action, request_id, request_type, reason)
    SELECT '', 'reconcile', request_id, type,
           concat('runner ', runner_id, ' holds its chain under epoch ', epoch - 1,
                  ', which its row does not assign; epoch raised to ', epoch)
      FROM orphaned
)
SELECT request_id FROM orphaned;

-- name: audit_repaired_fence
-- Records that an operator lowered the fence of a request's journal.
INSERT INTO request_manager.audit
       (user_name, authenticator, action, request_id, request_type, reason)
SELECT current_user, 'database', 'repair-fence', request_id, type, :reason
  FROM request_manager.requests
 WHERE request_id = :request_id;
