-- name: follow
-- Has this session told what is appended from now on.
SELECT job_log.follow();

-- name: unfollow
-- Has this session told nothing any more.
DELETE FROM job_log.followers WHERE pid = pg_backend_pid();

-- name: tell
-- Tells all job logs something.
SELECT pg_notify(:channel, :payload);
