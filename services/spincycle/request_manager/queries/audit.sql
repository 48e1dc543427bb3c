-- name: audit_refusals
-- Records refused calls of services and denied operations.
INSERT INTO request_manager.audit
       (user_name, authenticator, roles, peer, rule, call_id, on_behalf_of, action, request_id,
        request_type, reason, allowed)
SELECT caller, authenticator, ARRAY(SELECT jsonb_array_elements_text(roles)), peer, rule, call_id,
       on_behalf_of, operation, request_id, request_type, reason, false
  FROM unnest(:callers::text[], :authenticators::text[], :roles::jsonb[], :peers::text[],
              :rules::text[], :call_ids::text[], :on_behalf_ofs::text[], :operations::text[],
              :request_ids::text[], :request_types::text[], :reasons::text[])
    AS g (caller, authenticator, roles, peer, rule, call_id, on_behalf_of, operation, request_id,
          request_type, reason);
