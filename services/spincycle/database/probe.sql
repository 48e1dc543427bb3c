-- name: respond
-- Show that the server responds.
SELECT;

-- name: write
-- Fail while the server is read-only, or has no disk space for another 2 MB. Writing a temporary
-- file needs no table, no privilege and no write-ahead log.
DO $$
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE 'the server is read-only' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    PERFORM set_config('work_mem', '64kB', true);
    PERFORM count(*) FROM generate_series(1, 50000);
END $$;
