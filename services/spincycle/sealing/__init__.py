"""Secrets at rest: data that are sealed before they are stored, and the keys for that."""
