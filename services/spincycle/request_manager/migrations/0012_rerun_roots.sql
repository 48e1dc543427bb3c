-- rerun_root: the request from which a rerun descends, directly or by reruns of its reruns; null for
-- a request that is no rerun. allow_concurrent: others with the same root need not have ended.
ALTER TABLE request_manager.requests
    ADD COLUMN rerun_root text COLLATE "C",
    ADD COLUMN allow_concurrent boolean NOT NULL DEFAULT false;

-- Several reruns of one request may be live already.
WITH RECURSIVE reruns AS MATERIALIZED (
    SELECT request_id, rerun_of FROM request_manager.requests WHERE rerun_of IS NOT NULL
), roots AS (
    SELECT request_id, rerun_of AS root
      FROM reruns
     WHERE rerun_of NOT IN (SELECT request_id FROM reruns)
     UNION ALL
    SELECT r.request_id, o.root FROM reruns AS r JOIN roots AS o ON r.rerun_of = o.request_id
)
UPDATE request_manager.requests AS r
   SET rerun_root = o.root, allow_concurrent = r.state IN (1, 2, 7)
  FROM roots AS o
 WHERE r.request_id = o.request_id;

CREATE INDEX requests_live_reruns
    ON request_manager.requests (rerun_root)
 WHERE rerun_root IS NOT NULL AND state IN (1, 2, 7);

-- Of concurrent statements that find no live rerun of a root, this admits one.
CREATE UNIQUE INDEX requests_exclusive_reruns
    ON request_manager.requests (rerun_root)
 WHERE rerun_root IS NOT NULL AND state IN (1, 2, 7) AND NOT allow_concurrent;
