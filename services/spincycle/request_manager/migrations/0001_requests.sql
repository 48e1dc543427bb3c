-- Requests: what was asked for, where it stands, and which runner has it.
CREATE TABLE request_manager.requests (
    request_id       text COLLATE "C" PRIMARY KEY,
    type             text NOT NULL,
    state            smallint NOT NULL CHECK (state IN (1, 2, 3, 4, 6, 7)),
    user_name        text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    total_jobs       integer NOT NULL,
    finished_jobs    integer NOT NULL DEFAULT 0,
    rolled_back_jobs integer NOT NULL DEFAULT 0,
    priority         smallint NOT NULL DEFAULT 0,
    -- Most requests of the type that run at once; null means no limit.
    max_running      integer CHECK (max_running > 0),
    reason           text NOT NULL DEFAULT '',
    spec_revision    text NOT NULL,
    plan_hash        text NOT NULL,
    rerun_of         text COLLATE "C",
    -- Arguments that were given, each as text, for the filter of lists.
    given_args       jsonb NOT NULL DEFAULT '{}',
    idempotency_key  text,
    content_hash     text NOT NULL DEFAULT '',
    -- What somebody wants of a request that a runner has: 6 stopped, 7 suspended.
    wish             smallint CHECK (wish IN (6, 7)),
    -- How often the request was given to a runner, and which one has it.
    epoch            bigint NOT NULL DEFAULT 0,
    runner_id        text COLLATE "C",
    -- A request manager that takes the request from a dead runner has until then.
    claimed_until    timestamptz,
    CHECK ((state IN (3, 4, 6)) = (finished_at IS NOT NULL)),
    CHECK (state NOT IN (3, 4, 6) OR runner_id IS NULL)
);

CREATE UNIQUE INDEX requests_by_idempotency_key
    ON request_manager.requests (user_name, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE INDEX requests_by_time
    ON request_manager.requests (created_at DESC, request_id);

CREATE INDEX requests_by_state_and_time
    ON request_manager.requests (state, created_at DESC, request_id);

CREATE INDEX requests_by_type_and_time
    ON request_manager.requests (type, created_at DESC, request_id);

CREATE INDEX requests_by_given_args
    ON request_manager.requests USING gin (given_args jsonb_path_ops) WITH (fastupdate = off);

-- The few that have not ended: what the dispatcher and the recovery look through.
CREATE INDEX requests_that_wait
    ON request_manager.requests (priority DESC, created_at, request_id)
    WHERE state IN (1, 7) AND runner_id IS NULL AND wish IS NULL;

CREATE INDEX requests_that_count_against_a_limit
    ON request_manager.requests (type)
    WHERE max_running IS NOT NULL AND runner_id IS NOT NULL;

CREATE INDEX requests_by_runner
    ON request_manager.requests (runner_id) WHERE runner_id IS NOT NULL;

CREATE INDEX requests_with_a_wish
    ON request_manager.requests (runner_id, wish) WHERE wish IS NOT NULL;

-- What was asked for and what will be done: written once, never changed.
CREATE TABLE request_manager.request_archives (
    request_id     text COLLATE "C" PRIMARY KEY,
    -- The call as it was made, and the arguments as they were understood, as JSON.
    create_request jsonb NOT NULL,
    args           jsonb NOT NULL,
    -- A serialized spincycle.v1.JobChain.
    job_chain      bytea NOT NULL
);

ALTER TABLE request_manager.request_archives ALTER COLUMN job_chain SET STORAGE EXTERNAL;

-- Job runners, one row for each life of a process.
CREATE TABLE request_manager.runners (
    runner_id     text COLLATE "C" PRIMARY KEY,
    address       text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    beat_at       timestamptz NOT NULL DEFAULT now(),
    max_chains    integer NOT NULL,
    max_jobs      integer NOT NULL,
    chains        integer NOT NULL DEFAULT 0,
    jobs          integer NOT NULL DEFAULT 0,
    job_types     text[] NOT NULL,
    version       text NOT NULL,
    draining      boolean NOT NULL DEFAULT false,
    -- Left by itself, or given up after its silence. Never taken back.
    gone_at       timestamptz
);

CREATE INDEX runners_that_live ON request_manager.runners (runner_id) WHERE gone_at IS NULL;

-- State of requests that wait to be resumed.
CREATE TABLE request_manager.suspended_job_chains (
    request_id          text COLLATE "C" PRIMARY KEY,
    -- A serialized spincycle.v1.SuspendedJobChain.
    suspended_job_chain bytea NOT NULL,
    suspended_at        timestamptz NOT NULL DEFAULT now()
);

-- Who did what to which request, and why: never changed.
CREATE TABLE request_manager.audit (
    audit_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    user_name  text NOT NULL,
    action     text NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    job_id     text NOT NULL DEFAULT '',
    reason     text NOT NULL DEFAULT ''
);

CREATE INDEX audit_by_request ON request_manager.audit (request_id, audit_id);
