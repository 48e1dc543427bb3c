-- Lets the services use the schemas of the account that runs this, and add to the audit log without
-- changing it. Run it as the account that ran `spincycle migrate`, after each `spincycle migrate`:
--
--   psql "$OWNER_DSN" -v ON_ERROR_STOP=1 -f database-roles.sql
--
-- The role spincycle_service must exist; give it a password, or let another login role have it:
--
--   CREATE ROLE spincycle_service NOLOGIN;

GRANT USAGE ON SCHEMA request_manager, job_log TO spincycle_service;
GRANT SELECT, INSERT, UPDATE, DELETE
   ON ALL TABLES IN SCHEMA request_manager, job_log TO spincycle_service;
GRANT USAGE, SELECT, UPDATE
   ON ALL SEQUENCES IN SCHEMA request_manager, job_log TO spincycle_service;

-- Migrations are for the owner.
REVOKE INSERT, UPDATE, DELETE, TRUNCATE
    ON request_manager.migrations, job_log.migrations FROM spincycle_service;

-- The audit log only grows. Its id sequence cannot be set back.
REVOKE UPDATE, DELETE, TRUNCATE
    ON request_manager.audit, request_manager.audit_seals FROM spincycle_service;
REVOKE UPDATE ON SEQUENCE request_manager.audit_audit_id_seq FROM spincycle_service;
