"""uvicorn is capped in pyproject.toml, and its version is checked when a listener is made."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import pytest

from spincycle.runtime import uvicorn_version
from spincycle.runtime.config import ConfigError
from spincycle.runtime.http_listener import HttpListener
from spincycle.runtime.uvicorn_version import OLDEST, TOO_NEW, check_uvicorn_version

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())


def test_the_installed_version_is_supported() -> None:
    check_uvicorn_version()


def test_the_dependency_has_the_same_bounds_as_the_check() -> None:
    (declared,) = [
        dependency
        for dependency in PROJECT["project"]["dependencies"]
        if dependency.startswith("uvicorn")
    ]

    oldest, too_new = (".".join(map(str, bound)) for bound in (OLDEST, TOO_NEW))
    assert declared == f"uvicorn>={oldest},<{too_new}"


@pytest.mark.parametrize("version", ["0.53.0", "0.55.0", "0.55.0rc1", "1.0.0", "unknown"])
def test_another_version_is_refused_with_the_remedy(version: str) -> None:
    with pytest.raises(ConfigError, match=rf"uvicorn {version} is installed.*pip install"):
        check_uvicorn_version(version)


@pytest.mark.parametrize("version", ["0.54.0", "0.54.12", "0.54rc1"])
def test_every_release_within_the_bounds_is_supported(version: str) -> None:
    check_uvicorn_version(version)


def test_no_listener_is_made_on_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_version, "version", lambda _: "9.0.0")

    async def application(*_: object) -> None:
        raise AssertionError

    with (
        socket.create_server(("127.0.0.1", 0)) as bound,
        pytest.raises(ConfigError, match=r"uvicorn 9\.0\.0 is installed"),
    ):
        HttpListener(application, bound, "h11", 1.0)
