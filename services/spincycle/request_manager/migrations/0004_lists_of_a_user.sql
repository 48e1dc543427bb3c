-- Users are told apart now, and each one's requests are listed newest first.
CREATE INDEX requests_by_user_and_time
    ON request_manager.requests (user_name, created_at DESC, request_id);
