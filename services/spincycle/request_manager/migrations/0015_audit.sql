-- user_name is the caller, action the operation. The defaults are those of steps that the
-- installation takes by itself.
ALTER TABLE request_manager.audit
    ADD COLUMN authenticator text NOT NULL DEFAULT '',
    ADD COLUMN roles text[] NOT NULL DEFAULT '{}',
    ADD COLUMN peer text NOT NULL DEFAULT '',
    ADD COLUMN request_type text NOT NULL DEFAULT '',
    ADD COLUMN plan_hash text NOT NULL DEFAULT '',
    ADD COLUMN allowed boolean NOT NULL DEFAULT true,
    ADD COLUMN rule text NOT NULL DEFAULT '',
    ADD COLUMN call_id text NOT NULL DEFAULT '',
    ADD COLUMN on_behalf_of text NOT NULL DEFAULT '';

CREATE INDEX audit_by_time ON request_manager.audit (at, audit_id);
CREATE INDEX audit_by_caller ON request_manager.audit (user_name, at, audit_id);
CREATE INDEX audit_denied ON request_manager.audit (at, audit_id) WHERE NOT allowed;

-- Links of the chain that makes changes of the audit log evident. A seal is over rows that no earlier
-- seal has. Its head is a hash over the seal and the head of the seal before it.
--
-- pending: ids below the highest sealed one that no row has had so far; their transactions may be
-- open. digests: of the rows in the order of audit_ids, 32 bytes each. signature: of the head; null
-- without a key.
CREATE TABLE request_manager.audit_seals (
    number    bigint PRIMARY KEY CHECK (number > 0),
    audit_ids bigint[] NOT NULL,
    digests   bytea NOT NULL,
    pending   int8multirange NOT NULL,
    head      bytea NOT NULL,
    key_id    text NOT NULL DEFAULT '',
    signature bytea,
    sealed_at timestamptz NOT NULL
);
