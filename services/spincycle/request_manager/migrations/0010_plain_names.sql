-- Renames only: nothing is rewritten. Statements of older versions fail from here on.
ALTER TABLE request_manager.requests RENAME COLUMN wish TO desired_state;
ALTER TABLE request_manager.requests
    RENAME CONSTRAINT requests_wish_check TO requests_desired_state_check;

ALTER INDEX request_manager.requests_with_a_wish RENAME TO requests_with_desired_state;
ALTER INDEX request_manager.requests_that_wait RENAME TO requests_waiting;
ALTER INDEX request_manager.requests_of_limited_types_that_wait RENAME TO requests_waiting_with_limit;
ALTER INDEX request_manager.requests_that_count_against_a_limit
    RENAME TO requests_counted_against_limit;

-- When the runner left or was evicted; null while it is live.
ALTER TABLE request_manager.runners RENAME COLUMN gone_at TO deregistered_at;

-- Seconds for which the runner's oldest journal entry was waiting at its last heartbeat.
ALTER TABLE request_manager.runners RENAME COLUMN behind TO journal_lag;

ALTER INDEX request_manager.runners_that_live RENAME TO runners_live;

-- PostgreSQL 18 and later name constraints NOT NULL after their column.
DO $$
BEGIN
    IF EXISTS (SELECT
                 FROM pg_constraint
                WHERE conrelid = 'request_manager.runners'::regclass
                  AND conname = 'runners_behind_not_null') THEN
        ALTER TABLE request_manager.runners
            RENAME CONSTRAINT runners_behind_not_null TO runners_journal_lag_not_null;
    END IF;
END
$$;
