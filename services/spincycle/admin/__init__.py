"""The operators' program `spincycle`."""
