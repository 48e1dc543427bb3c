"""Watch: events of requests in order, from runners and the database to subscribers."""
