-- name: get_args
-- Resolved arguments of a request.
SELECT args FROM request_manager.request_archives WHERE request_id = :request_id;

-- name: get_job_chain
-- Archived chain of a request.
SELECT job_chain FROM request_manager.request_archives WHERE request_id = :request_id;

-- name: get_chain_portion
-- Archived chains by request id, until `most` bytes are reached.
SELECT request_id, job_chain
  FROM (SELECT request_id, job_chain,
               sum(octet_length(job_chain)) OVER (ORDER BY request_id COLLATE "C")
                   - octet_length(job_chain) AS before
          FROM request_manager.request_archives
         WHERE request_id = ANY (:request_ids::text[])) AS found
 WHERE before < :most::bigint
 ORDER BY request_id COLLATE "C";

-- name: get_suspended_portion
-- Saved states by request id, until `most` bytes are reached, with the periods for which callers had
-- suspended the requests.
SELECT request_id, suspended_job_chain, suspended_periods
  FROM (SELECT s.request_id, s.suspended_job_chain, r.suspended_periods,
               sum(octet_length(s.suspended_job_chain)) OVER (ORDER BY s.request_id COLLATE "C")
                   - octet_length(s.suspended_job_chain) AS before
          FROM request_manager.suspended_job_chains AS s
          LEFT JOIN request_manager.requests AS r USING (request_id)
         WHERE s.request_id = ANY (:request_ids::text[])) AS found
 WHERE before < :most::bigint
 ORDER BY request_id COLLATE "C";
