"""Job runners: directory, dispatch, reports, heartbeats, eviction, recovery, reconciliation."""
