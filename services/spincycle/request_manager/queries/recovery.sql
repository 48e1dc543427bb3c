-- name: claim_orphans
-- Requests of runners that are gone, under their next epoch, so that nothing the old runner
-- may still say counts. Each is claimed by one request manager, for a while.
UPDATE request_manager.requests AS r
   SET epoch = r.epoch + 1, claimed_until = now() + :lease::interval
  FROM (SELECT o.request_id
          FROM request_manager.requests AS o
          JOIN request_manager.runners AS n USING (runner_id)
         WHERE n.gone_at IS NOT NULL
           AND (o.claimed_until IS NULL OR o.claimed_until < now())
         ORDER BY o.priority DESC, o.request_id
         LIMIT :batch
           FOR UPDATE OF o SKIP LOCKED) AS orphan
 WHERE r.request_id = orphan.request_id
RETURNING r.request_id, r.epoch, r.state, r.wish, r.runner_id;

-- name: claim_unanswered
-- Requests whose runner did not say whether it took them, likewise.
UPDATE request_manager.requests AS r
   SET epoch = r.epoch + 1, claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch)
 WHERE r.request_id = g.request_id AND r.epoch = g.epoch AND r.state IN (1, 2, 7)
   AND (r.claimed_until IS NULL OR r.claimed_until < now())
RETURNING r.request_id, r.epoch, r.state, r.wish, r.runner_id;
