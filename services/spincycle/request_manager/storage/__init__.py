"""Data of the request manager: stores over PostgreSQL, change notifications, job log client."""
