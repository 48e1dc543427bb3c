-- Times for which callers had suspended a request: they do not count towards its timeouts.
-- suspended_at is the start of the period that has not ended, and null unless the request is
-- SUSPENDED because a caller suspended it.
ALTER TABLE request_manager.requests
    ADD COLUMN suspended_at timestamptz,
    ADD COLUMN suspended_periods tstzmultirange;

UPDATE request_manager.requests AS r
   SET suspended_at = COALESCE((SELECT s.suspended_at
                                  FROM request_manager.suspended_job_chains AS s
                                 WHERE s.request_id = r.request_id), now())
 WHERE r.state = 7 AND r.desired_state = 7;
