"""The end of a command that failed."""

from __future__ import annotations

import sys
from typing import NoReturn

import click


def fail(message: str) -> NoReturn:
    """Print an error as one line and exit with code 2."""
    click.echo(f"error: {message}", err=True)
    sys.exit(2)
