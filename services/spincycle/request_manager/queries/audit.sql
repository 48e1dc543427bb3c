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

-- name: audit_operation
-- Records an operation on the installation.
INSERT INTO request_manager.audit
       (user_name, authenticator, roles, peer, rule, call_id, action, request_id, reason)
VALUES (:caller, :authenticator, :roles::text[], :peer, :rule, :call_id, :operation, '', :reason);

-- name: list_audit
-- A page of the audit log, newest first, of the entries that match all criteria that are set.
SELECT *
  FROM request_manager.audit
 WHERE (:request_id::text = '' OR request_id = :request_id)
   AND (:caller::text = '' OR user_name = :caller)
   AND (:operations::text[] = '{}' OR action = ANY (:operations))
   AND (NOT :denied_only::boolean OR NOT allowed)
   AND at >= :since::timestamptz
   AND at < :until::timestamptz
   AND (at, audit_id) < (:before_time::timestamptz, :before_id::bigint)
 ORDER BY at DESC, audit_id DESC
 LIMIT :limit;

-- name: lock_seals
-- Lets one request manager at a time seal; the others need not wait.
SELECT pg_try_advisory_xact_lock(hashtext('spincycle.request_manager.audit_seals')) AS is_locked;

-- name: sealed_up_to
-- The last seal, and whether there are entries that no seal has; nulls before the first seal.
SELECT s.number, s.head, s.pending, now() AS now,
       EXISTS (SELECT
                 FROM unnest(COALESCE(s.pending, '{[1,)}')) AS g (ids)
                CROSS JOIN LATERAL (SELECT
                                      FROM request_manager.audit
                                     WHERE audit_id >= lower(g.ids)
                                       AND audit_id < COALESCE(upper(g.ids), 9223372036854775807)
                                     LIMIT 1) AS a) AS is_due
  FROM (SELECT) AS one
  LEFT JOIN (SELECT number, head, pending
               FROM request_manager.audit_seals
              ORDER BY number DESC
              LIMIT 1) AS s ON true;

-- name: audit_of_ranges
-- Entries with the lowest ids in ranges, which are ascending.
SELECT a.*
  FROM unnest(:starts::bigint[], :ends::bigint[]) AS g (start, "end")
 CROSS JOIN LATERAL (SELECT *
                       FROM request_manager.audit
                      WHERE audit_id >= g.start AND audit_id < g."end"
                      ORDER BY audit_id
                      LIMIT :limit::bigint) AS a
 ORDER BY a.audit_id
 LIMIT :limit::bigint;

-- name: add_seal
-- Adds a link to the chain of seals.
INSERT INTO request_manager.audit_seals
       (number, audit_ids, digests, pending, head, key_id, signature, sealed_at)
VALUES (:number, :audit_ids::bigint[], :digests, :pending::int8multirange, :head, :key_id,
        :signature, :sealed_at);

-- name: seals_after
-- Seals whose numbers follow a number.
SELECT *
  FROM request_manager.audit_seals
 WHERE number > :number
 ORDER BY number
 LIMIT :limit;

-- name: audit_of_ids
-- Entries by id.
SELECT *
  FROM request_manager.audit
 WHERE audit_id = ANY (:audit_ids::bigint[]);

-- name: audit_ids
-- Ids of entries in a range.
SELECT audit_id
  FROM request_manager.audit
 WHERE audit_id > :after AND audit_id <= :up_to
 ORDER BY audit_id
 LIMIT :limit;

-- name: audit_of_deletions
-- Entries that record deletions of old entries.
SELECT reason
  FROM request_manager.audit
 WHERE action = 'prune-audit'
 ORDER BY audit_id;

-- name: wait_for_seals
-- Keeps request managers from sealing until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('spincycle.request_manager.audit_seals'));

-- name: delete_audit
-- Deletes the oldest seals, up to `batch`, with their entries, if they were made before a moment, and
-- records that. The last seal stays. Returns the number of deleted entries, null without any.
WITH first AS (
    SELECT number, audit_ids, head, sealed_at
      FROM request_manager.audit_seals
     WHERE number < (SELECT max(number) FROM request_manager.audit_seals)
     ORDER BY number
     LIMIT :batch
), old AS (
    SELECT number, audit_ids, head
      FROM first
     WHERE number < COALESCE((SELECT min(number) FROM first WHERE sealed_at >= :moment),
                             9223372036854775807)
), deleted AS (
    DELETE FROM request_manager.audit AS a
     USING (SELECT unnest(audit_ids) AS audit_id FROM old) AS o
     WHERE a.audit_id = o.audit_id
 RETURNING a.audit_id
), seals AS (
    DELETE FROM request_manager.audit_seals AS s USING old AS o WHERE s.number = o.number
), recorded AS (
    INSERT INTO request_manager.audit (user_name, authenticator, action, request_id, reason)
    SELECT current_user, 'database', 'prune-audit', '',
           concat((SELECT count(*) FROM deleted), ' entries deleted, up to seal ', number,
                  ' with the head ', encode(head, 'hex'))
      FROM old
     ORDER BY number DESC
     LIMIT 1
 RETURNING audit_id
)
SELECT (SELECT count(*) FROM deleted) AS deleted FROM recorded;

-- name: count_audit
-- Number of entries that delete_audit would delete.
SELECT COALESCE(sum(cardinality(audit_ids)), 0) AS entries
  FROM request_manager.audit_seals
 WHERE number < COALESCE((SELECT min(number)
                            FROM request_manager.audit_seals
                           WHERE sealed_at >= :moment), 9223372036854775807)
   AND number < (SELECT max(number) FROM request_manager.audit_seals);
