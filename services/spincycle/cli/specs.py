"""Finding a request among those that can be started."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem

if TYPE_CHECKING:
    from spincycle.v1 import spec_pb2


def spec_named(specs: Iterable[spec_pb2.RequestSpec], name: str) -> spec_pb2.RequestSpec:
    """The request of that name.

    Raises:
        Problem: there is none.
    """
    by_name = {spec.name: spec for spec in specs}
    if name in by_name:
        return by_name[name]
    close = get_close_matches(name, by_name, 1)
    meant = f' (did you mean "{close[0]}"?)' if close else ""
    raise Problem(
        f'there is no request "{name}"{meant}', "spinc lists the requests that can be started"
    )
