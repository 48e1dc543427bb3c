-- The journal. Rows are only ever inserted.
--
-- Every key begins with the request's id, and ids sort by the time they were made. So the table
-- can be made one partition of a table PARTITION BY RANGE (request_id) without changing a key,
-- and old requests be dropped a partition at a time.
CREATE TABLE job_log.entries (
    request_id   text COLLATE "C" NOT NULL,
    job_id       text COLLATE "C" NOT NULL,
    try          bigint NOT NULL CHECK (try >= 0),
    -- Place in the request's journal, from 1.
    position     bigint NOT NULL CHECK (position > 0),
    epoch        bigint NOT NULL CHECK (epoch >= 0),
    -- Nanoseconds since 1970; a timestamptz would drop the last three digits. 0 if the job could
    -- not be started.
    started_at   bigint NOT NULL,
    finished_at  bigint NOT NULL,
    exit         bigint NOT NULL,
    sequence_try bigint NOT NULL,
    -- 0 unknown (from callers that keep no positions), 3 complete, 4 fail, 6 stopped.
    state        smallint NOT NULL CHECK (state IN (0, 3, 4, 6)),
    final        boolean NOT NULL,
    name         text NOT NULL,
    type         text NOT NULL,
    sequence_id  text COLLATE "C" NOT NULL,
    error        text NOT NULL,
    stdout       text NOT NULL,
    stderr       text NOT NULL,
    -- json keeps the text as it came. jsonb would build a tree for each row that nothing searches,
    -- and refuse what JSON can say but its strings cannot hold.
    data         json,
    PRIMARY KEY (request_id, job_id, try)
);

CREATE UNIQUE INDEX entries_by_position ON job_log.entries (request_id, position);

-- Entries with the bytes that each adds to a page. octet_length() reads a long text's header only.
CREATE VIEW job_log.sized_entries AS
SELECT e.*,
       300 + octet_length(name) + octet_length(type) + octet_length(error) AS bare_size,
       octet_length(stdout) + octet_length(stderr)
       + coalesce(octet_length(data::text), 0) AS output_size
  FROM job_log.entries AS e;

-- Lowest epoch whose entries are taken, for requests that were fenced.
CREATE TABLE job_log.fences (
    request_id text COLLATE "C" PRIMARY KEY,
    epoch      bigint NOT NULL
);

-- Sessions of job logs that want to be told what is appended. Means nothing after a crash.
CREATE UNLOGGED TABLE job_log.followers (
    pid           integer PRIMARY KEY,
    backend_start timestamptz NOT NULL
);

-- Stores entries that are new and not fenced; answers how many those were.
--
-- A function, because the lock must be held before the snapshot is taken that reads the fences,
-- and in a function each statement takes its own. One round trip all the same. The lock does not
-- conflict with itself; fence() and follow() take one that does, and so wait for the appends in
-- flight and hold back later ones until they have committed. Its plan does not depend on what is
-- appended, and making one takes longer than running it.
CREATE FUNCTION job_log.append(
    request_ids text[], job_ids text[], tries bigint[], positions bigint[], epochs bigint[],
    started_ats bigint[], finished_ats bigint[], exits bigint[], sequence_tries bigint[],
    states smallint[], finals boolean[], names text[], types text[], sequence_ids text[],
    errors text[], stdouts text[], stderrs text[], datas text[]
) RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    stored bigint;
BEGIN
    IF 0 = ANY (positions) THEN
        -- These are given the next positions, one append at a time, so that who reads by
        -- position never sees a higher one before a lower one.
        LOCK TABLE job_log.fences IN EXCLUSIVE MODE;
    ELSE
        LOCK TABLE job_log.fences IN ROW SHARE MODE;
    END IF;

    INSERT INTO job_log.entries
           (request_id, job_id, try, position, epoch, started_at, finished_at, exit, sequence_try,
            state, final, name, type, sequence_id, error, stdout, stderr, data)
    SELECT e.request_id, e.job_id, e.try,
           CASE WHEN e.position > 0 THEN e.position
                ELSE e.ordinal + coalesce((SELECT max(s.position)
                                             FROM job_log.entries AS s
                                            WHERE s.request_id = e.request_id), 0) END,
           e.epoch, e.started_at, e.finished_at, e.exit, e.sequence_try, e.state, e.final, e.name,
           e.type, e.sequence_id, e.error, e.stdout, e.stderr, e.data::json
      FROM unnest(request_ids, job_ids, tries, positions, epochs, started_ats, finished_ats, exits,
                  sequence_tries, states, finals, names, types, sequence_ids, errors, stdouts,
                  stderrs, datas)
           WITH ORDINALITY
           AS e (request_id, job_id, try, position, epoch, started_at, finished_at, exit,
                 sequence_try, state, final, name, type, sequence_id, error, stdout, stderr, data,
                 ordinal)
     WHERE e.epoch >= coalesce((SELECT f.epoch
                                  FROM job_log.fences AS f
                                 WHERE f.request_id = e.request_id), 0)
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS stored = ROW_COUNT;

    -- Telling costs every append its place in one queue, so nobody is told unless somebody
    -- follows. An empty text means that anything may have been appended.
    IF EXISTS (SELECT FROM job_log.followers) THEN
        PERFORM pg_notify('spincycle_job_log',
                          CASE WHEN length(told.ids) < 7500 THEN told.ids ELSE '' END)
           FROM (SELECT string_agg(DISTINCT id, ',') AS ids FROM unnest(request_ids) AS id) AS told;
    END IF;
    RETURN stored;
END
$$;

-- Raises the epoch from which on entries are taken. When it commits, nothing with a lower epoch
-- is in flight.
CREATE FUNCTION job_log.fence(request_ids text[], epochs bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE job_log.fences IN EXCLUSIVE MODE;
    INSERT INTO job_log.fences AS f (request_id, epoch)
    SELECT given.request_id, max(given.epoch)
      FROM unnest(request_ids, epochs) AS given (request_id, epoch)
     GROUP BY given.request_id
        ON CONFLICT (request_id) DO UPDATE SET epoch = excluded.epoch
     WHERE f.epoch < excluded.epoch;
END
$$;

-- Has this session told what is appended from now on, and forgets sessions that have ended. What
-- is not told is committed when this commits.
CREATE FUNCTION job_log.follow() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE job_log.fences IN EXCLUSIVE MODE;
    DELETE FROM job_log.followers AS f
     WHERE NOT EXISTS (SELECT
                         FROM pg_stat_activity AS a
                        WHERE a.pid = f.pid AND a.backend_start = f.backend_start);
    INSERT INTO job_log.followers (pid, backend_start)
    SELECT a.pid, a.backend_start FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid();
END
$$;
