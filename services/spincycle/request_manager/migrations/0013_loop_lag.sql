-- Seconds by which the runner's event loop was late at its last heartbeat.
ALTER TABLE request_manager.runners ADD COLUMN loop_lag double precision NOT NULL DEFAULT 0;
