"""The request manager's data: stores over PostgreSQL, notifications, the job log's client."""
