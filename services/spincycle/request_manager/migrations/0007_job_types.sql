-- Types of the jobs that are left to run of the request, structural jobs aside. Empty also for
-- requests that older versions stored: their types are not known, and any runner may get them.
ALTER TABLE request_manager.requests ADD COLUMN job_types text[] NOT NULL DEFAULT '{}';

-- The few that wait and count against the limit of their type.
CREATE INDEX requests_of_limited_types_that_wait
    ON request_manager.requests (type)
    WHERE state IN (1, 7) AND runner_id IS NULL AND wish IS NULL AND max_running IS NOT NULL;
