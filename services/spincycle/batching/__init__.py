"""Concurrent callers that share one write, one read or one cached value."""
