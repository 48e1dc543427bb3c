-- name: audit_refusals
-- Records refused calls of services.
INSERT INTO request_manager.audit (user_name, action, request_id, reason)
SELECT caller, 'refused', request_id, reason
  FROM unnest(:callers::text[], :request_ids::text[], :reasons::text[])
    AS g (caller, request_id, reason);
