"""The configuration of a service, passed by descriptor.

Addresses of databases contain passwords, and every process of the same account can read the
arguments of a process, and its environment while it starts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Configuration:
    """The keys that a stack sets for one service.

    Attributes:
        prefix: prefix of the service's environment variables.
        keys: values by key; those of a section by the section's name.
    """

    prefix: str
    keys: Mapping[str, object]

    def open(self, service: str) -> int:
        """Return a descriptor of an anonymous file with the keys, for one process of `service`.

        The caller closes it.
        """
        # Shown by messages about the configuration.
        file = os.memfd_create(f"configuration of {service} by spincycle dev")
        try:
            rest = memoryview(json.dumps(self.keys, ensure_ascii=False).encode())
            while rest:
                rest = rest[os.write(file, rest) :]
        except BaseException:
            os.close(file)
            raise
        return file

    def without_variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment without the variables that would override a key."""
        variables = set(_variables(self.prefix, self.keys))
        return {key: environment[key] for key in environment if key.upper() not in variables}


def _variables(prefix: str, keys: Mapping[str, object]) -> Iterator[str]:
    for key, value in keys.items():
        variable = prefix + key.upper()
        if isinstance(value, Mapping):
            yield from _variables(f"{variable}__", value)
        else:
            yield variable
