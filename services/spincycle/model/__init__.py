"""Plain values shared by all services: states, chains, entries, arguments, ids."""
