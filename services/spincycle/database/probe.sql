-- name: respond
-- Show that the server answers.
SELECT;

-- name: write
-- Fail while the server is read-only, or has no disk for 2 MB more. A temporary file needs no
-- table, no right, and no entry in the write-ahead log.
DO $$
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE 'the server is read-only' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    PERFORM set_config('work_mem', '64kB', true);
    PERFORM count(*) FROM generate_series(1, 50000);
END $$;
