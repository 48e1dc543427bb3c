"""Identities of the services: their names, what each may call, and grants to append entries."""
