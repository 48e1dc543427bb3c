from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.mounted import mount
from tests.waiting import until

from spincycle.request_manager.requests.spec_repository import SpecRepository

INTERVAL = 0.01
JOB_TYPES = frozenset({"noop"})


def spec(*names: str) -> str:
    sequences = "".join(
        f"  {name}:\n    request: true\n    nodes:\n      only: {{category: job, type: noop}}\n"
        for name in names
    )
    return f"sequences:\n{sequences}"


def requests(repository: SpecRepository) -> list[str]:
    return sorted(sequence.name for sequence in repository.specs.requests())


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[SpecRepository]:
    """Specs in a mounted ConfigMap, checked for changes at every interval."""
    mount(tmp_path, {"a.yaml": spec("drain")})
    repository = await SpecRepository.open(tmp_path, JOB_TYPES)
    reloading = asyncio.create_task(repository.reload_on_change(INTERVAL))
    yield repository
    reloading.cancel()


async def test_a_replaced_config_map_is_reloaded(
    repository: SpecRepository, tmp_path: Path
) -> None:
    assert requests(repository) == ["drain"]
    mount(tmp_path, {"a.yaml": spec("drain", "stop")})
    await until(lambda: requests(repository) == ["drain", "stop"])

    mount(tmp_path, {"b.yaml": spec("start")})
    await until(lambda: requests(repository) == ["start"])


async def test_a_file_that_is_edited_in_place_is_reloaded(
    repository: SpecRepository, tmp_path: Path
) -> None:
    (tmp_path / "plain.yaml").write_text(spec("add"))
    await until(lambda: requests(repository) == ["add", "drain"])

    (tmp_path / "plain.yaml").write_text(spec("put"))
    await until(lambda: requests(repository) == ["drain", "put"])


async def test_an_invalid_change_keeps_the_current_specs_until_it_is_fixed(
    repository: SpecRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = 0
    reload = repository.reload

    async def counted() -> object:
        nonlocal findings
        reloaded = await reload()
        findings += len(reloaded.findings)
        return reloaded

    monkeypatch.setattr(repository, "reload", counted)
    mount(tmp_path, {"a.yaml": "sequences: [}"})
    await until(lambda: findings)
    assert requests(repository) == ["drain"]

    mount(tmp_path, {"a.yaml": spec("fixed")})
    await until(lambda: requests(repository) == ["fixed"])
    assert findings == 1, "findings must be logged once per change, not at each check"


async def test_unchanged_specs_are_not_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(tmp_path, {"a.yaml": spec("drain")})
    repository = await SpecRepository.open(tmp_path, JOB_TYPES)
    checks = 0

    async def sleep(_: float) -> None:
        nonlocal checks
        checks += 1
        if checks > 3:
            raise asyncio.CancelledError

    async def read() -> object:
        raise AssertionError("reloaded unchanged specs")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(repository, "reload", read)
    with pytest.raises(asyncio.CancelledError):
        await repository.reload_on_change(INTERVAL)

    assert checks == 4


async def test_a_change_since_the_first_load_is_detected_at_the_first_check(
    tmp_path: Path,
) -> None:
    mount(tmp_path, {"a.yaml": spec("drain")})
    repository = await SpecRepository.open(tmp_path, JOB_TYPES)
    mount(tmp_path, {"a.yaml": spec("stop")})

    reloading = asyncio.create_task(repository.reload_on_change(INTERVAL))
    await until(lambda: requests(repository) == ["stop"])
    reloading.cancel()


@pytest.mark.parametrize(
    ("left", "place"),
    [({}, ""), ({"a.yaml": ""}, "a.yaml"), ({"a.yaml": "", "b.yaml": spec("start")}, "a.yaml")],
    ids=["no file", "an empty file", "an empty file beside another"],
)
async def test_emptied_specs_replace_valid_ones_only_if_allowed(
    tmp_path: Path, left: dict[str, str], place: str
) -> None:
    for allow_empty in (False, True):
        mount(tmp_path, {"a.yaml": spec("drain"), "b.yaml": spec("start")})
        repository = await SpecRepository.open(tmp_path, JOB_TYPES, allow_empty=allow_empty)
        mount(tmp_path, left)

        reloaded = await repository.reload()

        assert reloaded.changed == allow_empty
        assert ("drain" in requests(repository)) != allow_empty
        refused = [f.place for f in reloaded.findings if f.code == "emptied-specs"]
        assert refused == ([] if allow_empty else [place])


async def test_a_removed_file_does_not_count_as_emptied(tmp_path: Path) -> None:
    mount(tmp_path, {"a.yaml": spec("drain"), "b.yaml": spec("start")})
    repository = await SpecRepository.open(tmp_path, JOB_TYPES)
    mount(tmp_path, {"b.yaml": spec("start")})

    assert (await repository.reload()).changed
    assert requests(repository) == ["start"]


async def test_roles_that_no_caller_can_have_are_logged(tmp_path: Path) -> None:
    restricted = spec("wipe").replace(
        "request: true",
        "request: true\n    acl: [{role: dev, ops: [start]}, {role: on-cal, admin: true}]",
    )
    mount(tmp_path, {"a.yaml": restricted})
    roles = frozenset({"dev", "on-call"})

    with capture_logs() as at_start:
        repository = await SpecRepository.open(tmp_path, JOB_TYPES, lambda: roles)
    roles = frozenset({"dev", "on-cal"})
    with capture_logs() as at_reload:
        await repository.reload()

    (warning,) = [line for line in at_start if line["log_level"] == "warning"]
    assert warning["code"] == "acl-unknown-role"
    assert 'no configuration mentions role "on-cal" (did you mean "on-call"?)' in warning["finding"]
    assert [line for line in at_reload if line["log_level"] == "warning"] == []


async def test_without_acls_no_warning_is_logged(tmp_path: Path) -> None:
    mount(tmp_path, {"a.yaml": spec("free")})

    with capture_logs() as lines:
        await SpecRepository.open(tmp_path, JOB_TYPES)

    assert [line["event"] for line in lines] == ["specs loaded"]
