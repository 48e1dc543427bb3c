-- name: get_entry
-- One try of a job, or its last try for try 0.
SELECT request_id, job_id, try, position, epoch, started_at, finished_at, exit, sequence_try, state,
       final, name, path, type, sequence_id, error, stdout, stderr, data
  FROM job_log.entries
 WHERE request_id = :request_id
   AND job_id = :job_id
   AND (:try::bigint = 0 OR try = :try)
 ORDER BY try DESC
 LIMIT 1;

-- name: list_by_job
-- Entries of a request after a job and try and up to a job: as many as fit in :max_size bytes, but
-- at least one; `found` counts the entries within :limit, including those that do not fit.
SELECT request_id, job_id, try, position, epoch, started_at, finished_at, exit, sequence_try, state,
       final, name, path, type, sequence_id, error,
       CASE WHEN :with_output THEN stdout ELSE '' END AS stdout,
       CASE WHEN :with_output THEN stderr ELSE '' END AS stderr,
       CASE WHEN :with_data THEN data END AS data, found
  FROM (SELECT s.*, count(*) OVER () AS found, row_number() OVER in_order AS number,
               sum(bare_size + CASE WHEN :with_output OR :with_data THEN output_size ELSE 0 END)
               OVER in_order AS total
          FROM (SELECT *
                  FROM job_log.sized_entries
                 WHERE request_id = :request_id
                   AND (job_id, try) > (:after_job_id, :after_try::bigint)
                   AND job_id <= :last_job_id
                   AND (NOT :failed_only::boolean OR state = 4)
                 ORDER BY job_id, try
                 LIMIT :limit) AS s
        WINDOW in_order AS (ORDER BY job_id, try ROWS UNBOUNDED PRECEDING)) AS page
 WHERE number = 1 OR total <= :max_size::bigint
 ORDER BY job_id, try;

-- name: list_by_position
-- Entries of a request between two positions, the first excluded: as many as fit in :max_size
-- bytes, but at least one; `found` counts the entries within :limit, including those that do not
-- fit.
SELECT request_id, job_id, try, position, epoch, started_at, finished_at, exit, sequence_try, state,
       final, name, path, type, sequence_id, error,
       CASE WHEN :with_output THEN stdout ELSE '' END AS stdout,
       CASE WHEN :with_output THEN stderr ELSE '' END AS stderr,
       CASE WHEN :with_data THEN data END AS data, found
  FROM (SELECT s.*, count(*) OVER () AS found, row_number() OVER in_order AS number,
               sum(bare_size + CASE WHEN :with_output OR :with_data THEN output_size ELSE 0 END)
               OVER in_order AS total
          FROM (SELECT *
                  FROM job_log.sized_entries
                 WHERE request_id = :request_id
                   AND position > :after_position
                   AND position <= :last_position
                   AND (:job_id::text = '' OR job_id = :job_id)
                   AND (NOT :failed_only::boolean OR state = 4)
                   AND finished_at > :ended_after
                 ORDER BY position
                 LIMIT :limit) AS s
        WINDOW in_order AS (ORDER BY position ROWS UNBOUNDED PRECEDING)) AS page
 WHERE number = 1 OR total <= :max_size::bigint
 ORDER BY position;

-- name: last_position
-- Position of the last entry of a request.
SELECT max(position) AS position FROM job_log.entries WHERE request_id = :request_id;
