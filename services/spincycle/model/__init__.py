"""Plain values that every service shares: states, chains, entries, arguments, ids."""
