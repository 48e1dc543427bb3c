"""Logging in at an OpenID Connect issuer, and the tokens that it issues."""
