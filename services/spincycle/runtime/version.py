"""The version that all parts of this installation share."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("spincycle")
