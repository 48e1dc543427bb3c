-- No runner may have the request before: it has lost several without getting further.
ALTER TABLE request_manager.requests ADD COLUMN not_before timestamptz;
