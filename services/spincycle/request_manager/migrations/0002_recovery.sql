-- True from when a request is claimed from a runner that is gone, or that did not say whether it
-- took it, until it is rebuilt from its journal. Whoever claims it then goes on under the same
-- epoch, which no runner was given.
ALTER TABLE request_manager.requests ADD COLUMN orphaned boolean NOT NULL DEFAULT false;

CREATE INDEX requests_to_rebuild ON request_manager.requests (request_id) WHERE orphaned;

-- The few that were given to a runner which has not yet said that it has them.
CREATE INDEX requests_not_accepted ON request_manager.requests (request_id)
    WHERE state IN (1, 7) AND runner_id IS NOT NULL;

-- Seconds for which a runner's oldest journal entry was waiting at its last beat.
ALTER TABLE request_manager.runners ADD COLUMN behind double precision NOT NULL DEFAULT 0;

-- Since when some request manager has been there without a gap to hear runners beat: one row.
CREATE TABLE request_manager.hearing (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    since    timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
);
