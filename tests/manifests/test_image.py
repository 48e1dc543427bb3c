"""The Containerfile has what it copies, and the image what the manifests start."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from collections.abc import Iterator

from tests.manifests.rendered import REPOSITORY, Manifests

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def instructions() -> Iterator[tuple[str, list[str]]]:
    """Each instruction of the Containerfile with its words."""
    lines = (REPOSITORY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            name, *words = shlex.split(line)
            yield name, words


def copied() -> list[str]:
    """What is copied from the checkout."""
    return [
        source
        for name, words in instructions()
        if name == "COPY" and not words[0].startswith("--from=")
        for source in words[:-1]
    ]


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    kept = [
        line.removeprefix("!")
        for line in (REPOSITORY / ".containerignore").read_text().splitlines()
        if line.startswith("!")
    ]

    assert [source for source in copied() if not (REPOSITORY / source).exists()] == []
    assert sorted(copied()) == sorted(kept)


def test_what_the_wheel_is_made_of_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["only-include"], PROJECT["project"]["readme"]]
    needed += PROJECT["project"]["license-files"]

    assert set(needed) <= set(copied())


def test_the_image_does_not_run_as_root_and_the_manifests_know_its_user(
    manifests: Manifests,
) -> None:
    (user,) = [words[0] for name, words in instructions() if name == "USER"]
    for name, pod in manifests.pods().items():
        context = pod["spec"]["securityContext"]
        if name != "postgres":
            assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_every_program_that_a_manifest_starts_is_in_the_image(manifests: Manifests) -> None:
    for name in manifests.pods():
        container = manifests.container(name)
        if fnmatch.fnmatch(container["image"], "*spincycle:*"):
            assert container["command"][0] in PROJECT["project"]["scripts"], name


def test_the_image_has_the_versions_that_the_tests_ran_with() -> None:
    tested = dict(PINNED.findall((REPOSITORY / "requirements.lock").read_text()))
    image = dict(PINNED.findall((REPOSITORY / "image.lock").read_text()))

    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}
    for wanted in PROJECT["project"]["dependencies"]:
        assert re.split(r"[\[>=<]", wanted)[0] in image


def test_both_stages_have_the_same_python() -> None:
    bases = {words[0] for name, words in instructions() if name == "FROM"}

    assert len(bases) == 1
    (base,) = bases
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim", base)
