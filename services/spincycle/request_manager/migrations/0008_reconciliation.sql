-- Epoch from which on lost runners are counted: the epoch rose to it although none was lost.
ALTER TABLE request_manager.requests ADD COLUMN losses_since bigint NOT NULL DEFAULT 0;
