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


def requests(keeper: SpecRepository) -> list[str]:
    return sorted(sequence.name for sequence in keeper.specs.requests())


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[SpecRepository]:
    """A keeper that looks at a mounted ConfigMap again and again."""
    mount(tmp_path, {"a.yaml": spec("drain")})
    keeper = await SpecRepository.open(tmp_path, JOB_TYPES)
    looking = asyncio.create_task(keeper.reload_at_changes(INTERVAL))
    yield keeper
    looking.cancel()


async def test_a_config_map_that_is_replaced_is_read_again(
    keeper: SpecRepository, tmp_path: Path
) -> None:
    assert requests(keeper) == ["drain"]
    mount(tmp_path, {"a.yaml": spec("drain", "stop")})
    await until(lambda: requests(keeper) == ["drain", "stop"])

    mount(tmp_path, {"b.yaml": spec("start")})
    await until(lambda: requests(keeper) == ["start"])


async def test_a_file_that_is_edited_in_place_is_read_again(
    keeper: SpecRepository, tmp_path: Path
) -> None:
    (tmp_path / "plain.yaml").write_text(spec("add"))
    await until(lambda: requests(keeper) == ["add", "drain"])

    (tmp_path / "plain.yaml").write_text(spec("put"))
    await until(lambda: requests(keeper) == ["drain", "put"])


async def test_a_broken_change_leaves_the_old_specs_in_force_until_it_is_mended(
    keeper: SpecRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = 0
    reload = keeper.reload

    async def counted() -> object:
        nonlocal findings
        reloaded = await reload()
        findings += len(reloaded.findings)
        return reloaded

    monkeypatch.setattr(keeper, "reload", counted)
    mount(tmp_path, {"a.yaml": "sequences: [}"})
    await until(lambda: findings)
    assert requests(keeper) == ["drain"]

    mount(tmp_path, {"a.yaml": spec("mended")})
    await until(lambda: requests(keeper) == ["mended"])
    assert findings == 1, "what is wrong is told once a change, not at each look"


async def test_specs_that_did_not_change_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(tmp_path, {"a.yaml": spec("drain")})
    keeper = await SpecRepository.open(tmp_path, JOB_TYPES)
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise asyncio.CancelledError

    async def read() -> object:
        raise AssertionError("read again without need")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(keeper, "reload", read)
    with pytest.raises(asyncio.CancelledError):
        await keeper.reload_at_changes(INTERVAL)

    assert looks == 4


async def test_what_changed_since_the_first_reading_is_seen_at_the_first_look(
    tmp_path: Path,
) -> None:
    mount(tmp_path, {"a.yaml": spec("drain")})
    keeper = await SpecRepository.open(tmp_path, JOB_TYPES)
    mount(tmp_path, {"a.yaml": spec("stop")})

    looking = asyncio.create_task(keeper.reload_at_changes(INTERVAL))
    await until(lambda: requests(keeper) == ["stop"])
    looking.cancel()


@pytest.mark.parametrize(
    ("left", "place"),
    [({}, ""), ({"a.yaml": ""}, "a.yaml"), ({"a.yaml": "", "b.yaml": spec("start")}, "a.yaml")],
    ids=["no file", "an empty file", "an empty file beside another"],
)
async def test_an_emptied_set_replaces_a_good_one_only_if_that_is_allowed(
    tmp_path: Path, left: dict[str, str], place: str
) -> None:
    for allow_empty in (False, True):
        mount(tmp_path, {"a.yaml": spec("drain"), "b.yaml": spec("start")})
        keeper = await SpecRepository.open(tmp_path, JOB_TYPES, allow_empty=allow_empty)
        mount(tmp_path, left)

        reloaded = await keeper.reload()

        assert reloaded.changed == allow_empty
        assert ("drain" in requests(keeper)) != allow_empty
        refused = [f.place for f in reloaded.findings if f.code == "emptied-specs"]
        assert refused == ([] if allow_empty else [place])


async def test_a_file_that_is_removed_is_not_an_emptied_set(tmp_path: Path) -> None:
    mount(tmp_path, {"a.yaml": spec("drain"), "b.yaml": spec("start")})
    keeper = await SpecRepository.open(tmp_path, JOB_TYPES)
    mount(tmp_path, {"b.yaml": spec("start")})

    assert (await keeper.reload()).changed
    assert requests(keeper) == ["start"]


async def test_requests_with_acls_are_named_in_one_log_line_since_nothing_enforces_them(
    tmp_path: Path,
) -> None:
    restricted = spec("wipe", "drain").replace(
        "request: true",
        "request: true\n    acl: [{role: dev, ops: [start]}, {role: sre, admin: true}]",
    )
    mount(tmp_path, {"a.yaml": restricted, "b.yaml": spec("free")})

    with capture_logs() as at_start:
        keeper = await SpecRepository.open(tmp_path, JOB_TYPES)
    with capture_logs() as at_reload:
        reloaded = await keeper.reload()

    for lines in (at_start, at_reload):
        warnings = [line for line in lines if line["log_level"] == "warning"]
        assert warnings == [
            {"event": "acl not enforced", "log_level": "warning", "requests": ["drain", "wipe"]}
        ]
    assert [found.code for found in reloaded.findings] == ["acl-not-enforced"] * 2


async def test_without_acls_nothing_is_logged_of_them(tmp_path: Path) -> None:
    mount(tmp_path, {"a.yaml": spec("free")})

    with capture_logs() as lines:
        await SpecRepository.open(tmp_path, JOB_TYPES)

    assert [line["event"] for line in lines] == ["specs loaded"]
