-- name: append
-- Store entries; return how many were new and not fenced.
SELECT job_log.append(:entries::job_log.appended_entry[]) AS stored;

-- name: find_differing
-- The given entries that are not stored with the same values, with the reason: the current epoch,
-- an entry with the same identity, or an entry at the same position. Paths are not compared: a job
-- log of the version before stores an entry without its path, and the runner may send it again.
SELECT e.ordinal, f.epoch AS current_epoch, s.request_id IS NOT NULL AS known,
       p.job_id AS holder_job_id, p.try AS holder_try
  FROM unnest(:entries::job_log.appended_entry[])
       WITH ORDINALITY
       AS e (request_id, job_id, try, position, epoch, started_at, finished_at, exit,
             sequence_try, state, final, name, type, sequence_id, error, stdout, stderr, data,
             path, ordinal)
  LEFT JOIN job_log.entries AS s USING (request_id, job_id, try)
  LEFT JOIN job_log.fences AS f USING (request_id)
  LEFT JOIN job_log.entries AS p
         ON p.request_id = e.request_id AND p.position = e.position AND s.request_id IS NULL
 WHERE (s.position, s.epoch, s.started_at, s.finished_at, s.exit, s.sequence_try, s.state, s.final,
        s.name, s.type, s.sequence_id, s.error, s.stdout, s.stderr, s.data::text)
       IS DISTINCT FROM
       (CASE WHEN e.position = 0 THEN s.position ELSE e.position END, e.epoch, e.started_at,
        e.finished_at, e.exit, e.sequence_try, e.state, e.final, e.name, e.type, e.sequence_id,
        e.error, e.stdout, e.stderr, e.data)
 ORDER BY e.ordinal;

-- name: get_fences
-- The current epochs of those requests that have a fence.
SELECT request_id, epoch FROM job_log.fences WHERE request_id = ANY (:request_ids::text[]);

-- name: lower_fences
-- Lower fences of at least :least to the given epochs; return them before and after.
UPDATE job_log.fences AS f
   SET epoch = g.epoch
  FROM unnest(:request_ids::text[], :epochs::bigint[]) AS g (request_id, epoch),
       job_log.fences AS o
 WHERE f.request_id = g.request_id AND o.request_id = f.request_id
   AND f.epoch >= :least AND f.epoch > g.epoch
RETURNING f.request_id, o.epoch AS before, f.epoch AS after;

-- name: fence
-- Raise the lowest epoch whose entries are accepted.
SELECT job_log.fence(:request_ids::text[], :epochs::bigint[]);
