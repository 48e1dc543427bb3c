"""Prints docs/reference/configuration.md from the configuration models.

`python -m tests.documentation.configuration_page > docs/reference/configuration.md`
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin

import msgspec

from spincycle.gateway.config import GatewayConfig
from spincycle.job_log.config import JobLogConfig
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.runtime.config import Config, Secret, Section

SERVICES: dict[str, type[Config]] = {
    "request-manager": RequestManagerConfig,
    "job-runner": JobRunnerConfig,
    "job-log": JobLogConfig,
    "gateway": GatewayConfig,
}

_HEAD = """\
# Configuration

Look up a configuration key of a service here: its meaning, its type and its default. `make
generate` makes this page from the configuration models.

To set a key, use a YAML file (`--config FILE`) or an environment variable. The environment wins
over the file, and the file over the default.

| where | form | example |
| --- | --- | --- |
| file | keys; a section is a mapping | `database: {max_connections: 16}` |
| environment | prefix of the service, then the key in capitals; `__` after a section \
| `SPINCYCLE_RM_DATABASE__MAX_CONNECTIONS=16` |
| environment, lists | JSON or YAML | `SPINCYCLE_RM_JOBS='["my_jobs:jobs"]'` |

To print the configuration in force: `spincycle-request-manager --print-config`, and likewise for
the other services. Secrets are masked. The output is a valid configuration file.

A service does not start with an unknown key or an invalid value: it prints all of them, each with
the file or the variable it is in, and exits with code 2.

A default of – means that the key is not set."""

_END = """
## Kubernetes jobs

The job type `kubernetes/job` reads two environment variables of the job runner; see
[kubernetes-job.md](../how-to/kubernetes-job.md#which-cluster).

| variable | meaning |
| --- | --- |
| `SPINCYCLE_KUBERNETES_NAMESPACE` | namespace of jobs that name none |
| `SPINCYCLE_KUBERNETES_CONTEXT` | context of the kubeconfig |

## spinc

The options, environment variables and config files of `spinc` are in [spinc.md](spinc.md).
"""

_TYPES = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    Secret: "text, secret",
}


def configuration_page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for name, model in SERVICES.items():
        parts += [
            f"\n## {name}\n",
            f"Program `spincycle-{name}`, prefix `{model.prefix}`.\n",
            "| key | meaning | type | default |",
            "| --- | --- | --- | --- |",
            *rows(model(), ""),
        ]
    return "\n".join(parts) + "\n" + _END


def rows(section: Section, path: str) -> Iterator[str]:
    """One row for each key, those of inner sections included."""
    texts = meanings(type(section))
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        key = path + field.name
        if isinstance(value, Section):
            yield from rows(value, f"{key}.")
        else:
            cells = (f"`{key}`", texts[field.name], described(field.type), default(value))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def meanings(model: type[Section]) -> dict[str, str]:
    """The text below each key of a model and of the models that it extends."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, Section) or base is Section:
            continue
        (defined,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(defined, ast.ClassDef)
        for line, below in zip(defined.body, defined.body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                found[ast.unparse(line.target)] = " ".join(text.split()).removesuffix(".")
    return found


def described(kind: Any) -> str:
    """A type and its bounds, in words."""
    bounds = ""
    if get_origin(kind) is Annotated:
        kind, *marks = get_args(kind)
        bounds = "".join(_bounds(mark) for mark in marks if isinstance(mark, msgspec.Meta))
    if isinstance(kind, UnionType):
        (kind,) = [one for one in get_args(kind) if one is not NoneType]
    if get_origin(kind) is dict:
        return f"map of {_TYPES.get(get_args(kind)[1], 'map')}s"
    if get_origin(kind) is tuple:
        return f"list of {_TYPES[get_args(kind)[0]]}s"
    return _TYPES[kind] + bounds


def _bounds(mark: msgspec.Meta) -> str:
    if mark.pattern:
        return ": " + ", ".join(f"`{one}`" for one in mark.pattern.strip("^$()").split("|"))
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {getattr(mark, name)}"
        for name, sign in signs.items()
        if getattr(mark, name) is not None
    ]
    return " " + ", ".join(limits) if limits else ""


def default(value: Any) -> str:
    """A default as it would stand in a file."""
    if isinstance(value, Secret):
        return f"`{value.reveal()}`"
    if value is None or value in ("", ()):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(configuration_page())
