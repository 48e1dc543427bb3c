-- name: count_secrets_in_clear
-- Number of requests with secrets in clear, up to `most`.
SELECT count(*) AS requests
  FROM (SELECT request_id
          FROM request_manager.request_archives
         WHERE sealed_under = '' OR (sealed_under = '?' AND args @> '[{"secret": true}]')
         UNION
        SELECT request_id
          FROM request_manager.suspended_job_chains
         WHERE sealed_under = ''
         LIMIT :most) AS found;

-- name: get_archives_to_seal
-- Archives in the order of sealed_under and request_id, from a place on and before another value of
-- sealed_under, until `most` bytes are reached.
SELECT request_id, sealed_under, create_request, args, job_chain, content_hash
  FROM (SELECT a.request_id, a.sealed_under, a.create_request, a.args, a.job_chain,
               r.content_hash,
               sum(octet_length(a.job_chain)) OVER (ORDER BY a.sealed_under, a.request_id)
                   - octet_length(a.job_chain) AS before
          FROM (SELECT *
                  FROM request_manager.request_archives
                 WHERE (sealed_under, request_id) > (:after_mark, :after_id)
                   AND sealed_under < :until
                 ORDER BY sealed_under, request_id
                 LIMIT :batch) AS a
          LEFT JOIN request_manager.requests AS r USING (request_id)) AS found
 WHERE before < :most::bigint
 ORDER BY sealed_under, request_id;

-- name: seal_archive
-- Stores what an archive holds of secrets under another key, unless another process has done so.
WITH sealed AS (
    UPDATE request_manager.request_archives
       SET sealed_under = :sealed_under::text,
           create_request = COALESCE(:create_request::jsonb, create_request),
           args = COALESCE(:args::jsonb, args),
           job_chain = COALESCE(:job_chain::bytea, job_chain)
     WHERE request_id = :request_id AND sealed_under = :before
 RETURNING request_id
), hashed AS (
    UPDATE request_manager.requests AS r
       SET content_hash = :content_hash
      FROM sealed AS s
     WHERE r.request_id = s.request_id AND r.content_hash <> :content_hash
)
SELECT request_id FROM sealed;

-- name: get_states_to_seal
-- Saved states, from a request id on, that may hold secrets which are not sealed under a key, until
-- `most` bytes are reached. An earlier version that replaces a sealed state does not change its mark.
SELECT request_id, sealed_under, suspended_job_chain
  FROM (SELECT request_id, sealed_under, suspended_job_chain,
               sum(octet_length(suspended_job_chain)) OVER (ORDER BY request_id)
                   - octet_length(suspended_job_chain) AS before
          FROM (SELECT *
                  FROM request_manager.suspended_job_chains
                 WHERE (sealed_under <> :key_id
                        OR (sealed_under = :key_id
                            AND substring(suspended_job_chain FROM 1 FOR 2) <> '\x0001'))
                   AND request_id > :after
                 ORDER BY request_id
                 LIMIT :batch) AS s) AS found
 WHERE before < :most::bigint
 ORDER BY request_id;

-- name: seal_state
-- Stores a saved state under another key, unless the state was replaced.
UPDATE request_manager.suspended_job_chains
   SET sealed_under = :sealed_under::text, suspended_job_chain = :suspended_job_chain::bytea
 WHERE request_id = :request_id AND sealed_under = :before
   AND suspended_job_chain = :suspended_job_chain_before::bytea
RETURNING request_id;

-- name: count_sealed_under
-- Number of archives and saved states that are sealed under a key.
SELECT (SELECT count(*) FROM request_manager.request_archives WHERE sealed_under = :key_id)
       + (SELECT count(*) FROM request_manager.suspended_job_chains WHERE sealed_under = :key_id)
       AS places;

-- name: count_not_sealed_under
-- Number of archives and saved states that may hold secrets which are not sealed under a key; of
-- archives up to `most` on either side of the key. In the order of the index, since statistics are
-- of the time before the rotation.
SELECT (SELECT count(*)
          FROM (SELECT
                  FROM request_manager.request_archives
                 WHERE sealed_under < :key_id
                 ORDER BY sealed_under, request_id
                 LIMIT :most) AS before)
       + (SELECT count(*)
            FROM (SELECT
                    FROM request_manager.request_archives
                   WHERE sealed_under > :key_id
                   ORDER BY sealed_under, request_id
                   LIMIT :most) AS after)
       + (SELECT count(*) FROM request_manager.suspended_job_chains WHERE sealed_under <> :key_id)
       AS places;
