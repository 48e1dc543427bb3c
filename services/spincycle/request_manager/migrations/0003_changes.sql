-- The transaction that last changed the request's state. Together with a snapshot of the database
-- it tells exactly which changes somebody has seen who saw all that was committed then.
ALTER TABLE request_manager.requests
    ADD COLUMN changed xid8 NOT NULL DEFAULT pg_current_xact_id();

CREATE INDEX requests_by_change ON request_manager.requests (changed);

CREATE FUNCTION request_manager.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed := pg_current_xact_id();
    RETURN NEW;
END
$$;

CREATE TRIGGER requests_note_change
    BEFORE UPDATE OF state ON request_manager.requests
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION request_manager.note_change();
