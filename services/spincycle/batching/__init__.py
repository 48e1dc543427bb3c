"""Sharing of writes, reads and cached values between concurrent callers."""
