-- What a runner must support to run the request's chain, and what each runner supports, by name.
ALTER TABLE request_manager.requests ADD COLUMN required_features text[] NOT NULL DEFAULT '{}';

ALTER TABLE request_manager.runners ADD COLUMN features text[] NOT NULL DEFAULT '{}';
