-- The SPIFFE ID of the service that registered the runner; only it speaks for the runner id. Empty if
-- the services are not identified.
ALTER TABLE request_manager.runners ADD COLUMN identity text NOT NULL DEFAULT '';
