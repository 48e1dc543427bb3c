"""Who callers are, and what they may do: authenticators and access rules."""
