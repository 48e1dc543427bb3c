-- Where the job stands in the plan, for people; empty in entries from before there were paths.
ALTER TABLE job_log.entries ADD COLUMN path text NOT NULL DEFAULT '';

-- The column comes last, so that the view is replaced while job logs of the version before read it.
CREATE OR REPLACE VIEW job_log.sized_entries AS
SELECT e.request_id, e.job_id, e.try, e.position, e.epoch, e.started_at, e.finished_at, e.exit,
       e.sequence_try, e.state, e.final, e.name, e.type, e.sequence_id, e.error, e.stdout, e.stderr,
       e.data,
       300 + octet_length(name) + octet_length(type) + octet_length(error)
       + octet_length(path) AS bare_size,
       octet_length(stdout) + octet_length(stderr)
       + coalesce(octet_length(data::text), 0) AS output_size,
       e.path
  FROM job_log.entries AS e;

-- An entry on its way into the journal; see job_log.entries for what each field means.
CREATE TYPE job_log.appended_entry AS (
    request_id   text,
    job_id       text,
    try          bigint,
    position     bigint,
    epoch        bigint,
    started_at   bigint,
    finished_at  bigint,
    exit         bigint,
    sequence_try bigint,
    state        smallint,
    final        boolean,
    name         text,
    type         text,
    sequence_id  text,
    error        text,
    stdout       text,
    stderr       text,
    data         text,
    path         text
);

-- As the append of step 2, which stays for job logs of the version before until all are replaced.
CREATE FUNCTION job_log.append(given job_log.appended_entry[])
RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    stored bigint;
BEGIN
    IF EXISTS (SELECT FROM unnest(given) AS e WHERE e.position = 0) THEN
        -- These are given the next positions, one append at a time, so that a read by position
        -- never returns a higher one before a lower one is visible.
        LOCK TABLE job_log.fences IN EXCLUSIVE MODE;
    ELSE
        LOCK TABLE job_log.fences IN ROW SHARE MODE;
    END IF;

    INSERT INTO job_log.entries
           (request_id, job_id, try, position, epoch, started_at, finished_at, exit, sequence_try,
            state, final, name, type, sequence_id, error, stdout, stderr, data, path)
    SELECT e.request_id, e.job_id, e.try,
           CASE WHEN e.position > 0 THEN e.position
                ELSE e.ordinal + coalesce((SELECT max(s.position)
                                             FROM job_log.entries AS s
                                            WHERE s.request_id = e.request_id), 0) END,
           e.epoch, e.started_at, e.finished_at, e.exit, e.sequence_try, e.state, e.final, e.name,
           e.type, e.sequence_id, e.error, e.stdout, e.stderr, e.data::json, e.path
      FROM unnest(given) WITH ORDINALITY
           AS e (request_id, job_id, try, position, epoch, started_at, finished_at, exit,
                 sequence_try, state, final, name, type, sequence_id, error, stdout, stderr, data,
                 path, ordinal)
     WHERE e.epoch >= coalesce((SELECT f.epoch
                                  FROM job_log.fences AS f
                                 WHERE f.request_id = e.request_id), 0)
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS stored = ROW_COUNT;

    -- A notification costs every append its place in one queue, so it is sent only if there are
    -- followers. An empty text means that anything may have been appended.
    IF EXISTS (SELECT FROM job_log.followers) THEN
        PERFORM pg_notify('spincycle_job_log',
                          CASE WHEN length(appended.ids) < 7500 THEN appended.ids ELSE '' END)
           FROM (SELECT string_agg(DISTINCT e.request_id, ',') AS ids
                   FROM unnest(given) AS e) AS appended;
    END IF;
    RETURN stored;
END
$$;
