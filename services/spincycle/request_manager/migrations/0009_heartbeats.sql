-- The last heartbeat of a runner: the request manager process that received it, and its number among
-- those that this process received. No times are stored: request managers notice that it stays the
-- same, and measure for how long by their own monotonic clocks. Runners are in the order of
-- `registration`.
ALTER TABLE request_manager.runners
    DROP COLUMN beat_at,
    ADD COLUMN observer text NOT NULL DEFAULT '',
    ADD COLUMN heartbeat bigint NOT NULL DEFAULT 0,
    ADD COLUMN registration bigint GENERATED ALWAYS AS IDENTITY;

DROP TABLE request_manager.hearing;
