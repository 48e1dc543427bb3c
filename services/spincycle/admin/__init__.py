"""The command `spincycle`, for the people who run the services."""
