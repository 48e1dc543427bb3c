"""Job runners: who is there, dispatch, heartbeats, eviction, recovery."""
