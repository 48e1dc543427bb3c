-- name: unaccepted_requests
-- Claims on requests that were assigned to a live runner and that it has not accepted.
SELECT o.request_id, o.epoch, o.claimed_until
  FROM request_manager.requests AS o
  JOIN request_manager.runners AS n USING (runner_id)
 WHERE o.state IN (1, 7) AND n.deregistered_at IS NULL AND NOT o.orphaned
 LIMIT 10000;

-- name: claim_unaccepted
-- Claims requests whose claims have ended, unless another process has claimed them since: the
-- sender died, or could not store the response. The assignments stay the same.
UPDATE request_manager.requests AS r
   SET claimed_until = now() + :lease::interval
  FROM unnest(:request_ids::text[], :epochs::bigint[], :untils::timestamptz[])
    AS c (request_id, epoch, until)
 WHERE r.request_id = c.request_id AND r.epoch = c.epoch
   AND r.claimed_until IS NOT DISTINCT FROM c.until
   AND r.state IN (1, 7) AND r.runner_id IS NOT NULL AND NOT r.orphaned
RETURNING r.request_id, r.runner_id, r.epoch, r.state = 7 OR r.rerun_of IS NOT NULL AS resumed;
