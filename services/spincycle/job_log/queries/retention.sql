-- name: delete_journals
-- Delete the journals of requests, and their fences.
WITH entries AS (
    DELETE FROM job_log.entries AS e
     WHERE e.request_id = ANY (:request_ids::text[])
 RETURNING e.request_id
), fences AS (
    DELETE FROM job_log.fences AS f
     WHERE f.request_id = ANY (:request_ids::text[])
)
SELECT count(*) AS entries FROM entries;
