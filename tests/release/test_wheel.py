"""What the wheel contains. Whether it works when installed is in test_installed.py."""

from __future__ import annotations

import email
import zipfile
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest
from tests.release.built import PROJECT, REPOSITORY, build_wheel, given_wheel

from spincycle.admin.init import FILES

TEMPLATES = PurePosixPath("spincycle/admin/templates")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(given_wheel() or build_wheel(tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="module")
def paths(wheel: zipfile.ZipFile) -> set[PurePosixPath]:
    return {PurePosixPath(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = f"spincycle-{PROJECT['version']}.dist-info/METADATA"
    return email.message_from_bytes(wheel.read(name))


def sources(*folders: str, suffix: str) -> set[str]:
    """Names below the root of a wheel of the files with that suffix in folders of the checkout."""
    return {
        str(file.relative_to(REPOSITORY / folder.partition("/")[0]))
        for folder in folders
        for file in (REPOSITORY / folder).rglob(f"*{suffix}")
    }


def test_every_module_is_in_a_package_with_types(paths: set[PurePosixPath]) -> None:
    typed = {path.parent for path in paths if path.name == "py.typed"}
    untyped = {
        str(path)
        for path in paths
        if path.suffix in {".py", ".pyi"} and typed.isdisjoint(path.parents)
    }

    assert untyped == set()


def test_no_directory_that_distributions_share_has_a_module(paths: set[PurePosixPath]) -> None:
    namespaces = {"spincycle", "spincycle/internal", "spincycle/examples"}

    assert [str(path) for path in paths if str(path.parent) in namespaces] == []


def test_every_generated_module_has_its_stub(paths: set[PurePosixPath]) -> None:
    generated = {path for path in paths if path.stem.endswith(("_pb2", "_pb2_grpc"))}
    modules = {path for path in generated if path.suffix == ".py"}

    assert modules
    assert {path.with_suffix(".pyi") for path in modules} <= generated


@pytest.mark.parametrize(
    "suffix", [".py", ".pyi", ".sql", "schema.txt", "py.typed"], ids=lambda suffix: suffix
)
def test_everything_below_services_and_generated_is_there(
    paths: set[PurePosixPath], suffix: str
) -> None:
    assert sources("services", "generated", suffix=suffix) <= {str(path) for path in paths}


def test_queries_and_migrations_are_there(paths: set[PurePosixPath]) -> None:
    for folder in ("queries", "migrations"):
        for service in ("request_manager", "job_log"):
            parent = PurePosixPath("spincycle", service, folder)
            assert any(path.parent == parent and path.suffix == ".sql" for path in paths), parent


def test_the_examples_are_there_under_the_name_of_the_distribution(
    paths: set[PurePosixPath],
) -> None:
    shipped = {
        str(path.relative_to("spincycle/examples"))
        for path in paths
        if path.is_relative_to("spincycle/examples")
    }

    assert shipped == (
        sources("examples/jobs", suffix=".py")
        | sources("examples/specs", suffix=".yaml")
        | {"jobs/py.typed"}
    )


def test_the_files_of_a_new_project_are_there(paths: set[PurePosixPath]) -> None:
    assert {TEMPLATES / name for name in FILES} <= paths


def test_nothing_else_is_there(paths: set[PurePosixPath]) -> None:
    tops = {path.parts[0] for path in paths}
    odd = {
        str(path)
        for path in paths
        if not path.is_relative_to(TEMPLATES)
        and ({"tests", "__pycache__", "clients"} & set(path.parts) or path.name == "conftest.py")
    }

    assert tops == {"spincycle", f"spincycle-{PROJECT['version']}.dist-info"}
    assert odd == set()


def test_the_metadata_says_what_it_is(metadata: Message) -> None:
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "Spin Cycle maintainers"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert set(metadata.get_all("Provides-Extra", [])) == {"kubernetes", "postgres", "types"}
    assert any(
        requirement.replace(" ", "").startswith("uvicorn<")
        for requirement in metadata.get_all("Requires-Dist", [])
    )
    assert Path(REPOSITORY, "README.md").read_text() == metadata.get_payload()
