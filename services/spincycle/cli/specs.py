"""Looks up a request among those that can be started."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem

if TYPE_CHECKING:
    from spincycle.v1 import spec_pb2


def spec_named(specs: Iterable[spec_pb2.RequestSpec], name: str) -> spec_pb2.RequestSpec:
    """Return the spec with that name.

    Raises:
        Problem: there is no such request.
    """
    by_name = {spec.name: spec for spec in specs}
    if name in by_name:
        return by_name[name]
    close = get_close_matches(name, by_name, 1)
    meant = f' (did you mean "{close[0]}"?)' if close else ""
    raise Problem(
        f'there is no request "{name}"{meant}', "run spinc to list the requests you can start"
    )
