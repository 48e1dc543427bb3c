-- name: follow
-- Register this session for notifications of appended entries.
SELECT job_log.follow();

-- name: unfollow
-- Remove the registration of this session.
DELETE FROM job_log.followers WHERE pid = pg_backend_pid();

-- name: notify
-- Send a notification to all job logs.
SELECT pg_notify(:channel, :payload);
