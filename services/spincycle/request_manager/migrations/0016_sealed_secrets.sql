-- sealed_under: null if the row holds no secrets; '' if it holds some in clear; otherwise the id of
-- the key under which they are sealed. '?' stands for rows that an earlier version stores, which does
-- not seal: `spincycle secrets rotate` examines them. In all other rows the values of secret arguments
-- are only in the chain.
ALTER TABLE request_manager.request_archives
    ADD COLUMN sealed_under text COLLATE "C" DEFAULT '?';
ALTER TABLE request_manager.suspended_job_chains
    ADD COLUMN sealed_under text COLLATE "C" DEFAULT '?';

CREATE INDEX request_archives_with_secrets
    ON request_manager.request_archives (sealed_under, request_id) WHERE sealed_under IS NOT NULL;

CREATE INDEX request_archives_in_clear
    ON request_manager.request_archives (request_id)
 WHERE sealed_under = '' OR (sealed_under = '?' AND args @> '[{"secret": true}]');
