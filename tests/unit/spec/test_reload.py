from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spincycle.spec.reload import SpecsUnusable, open_specs

if TYPE_CHECKING:
    from pathlib import Path

ONE = "sequences: {one: {nodes: {n: {category: job, type: noop}}}}"
TWO = "sequences: {two: {nodes: {n: {category: job, type: noop}}}}"
BROKEN = "sequences: {one: {nodes: {n: {category: job, type: noop, deps: [m]}}}}"


async def test_a_reload_takes_the_new_set_whole(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE)
    live, findings = await open_specs(tmp_path, None)
    before = live.current
    (tmp_path / "a.yaml").write_text(TWO)

    reloaded = await live.reload()

    assert findings == []
    assert reloaded.changed
    assert live.current is reloaded.specs
    assert "two" in live.current.sequences
    assert "one" in before.sequences


async def test_a_broken_file_leaves_the_old_set_in_force(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE)
    live, _ = await open_specs(tmp_path, None)
    before = live.current
    (tmp_path / "a.yaml").write_text(BROKEN)

    reloaded = await live.reload()

    assert not reloaded.changed
    assert live.current is before
    assert [finding.code for finding in reloaded.findings] == ["unknown-dep"]


async def test_the_same_files_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE)
    live, _ = await open_specs(tmp_path, None)

    assert not (await live.reload()).changed


async def test_broken_specs_cannot_be_opened_and_the_first_error_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BROKEN)

    with pytest.raises(SpecsUnusable, match=r'a\.yaml:1:65: no node "m"') as error:
        await open_specs(tmp_path, None)

    assert [finding.code for finding in error.value.findings] == ["unknown-dep"]


async def test_job_types_that_no_factory_knows_keep_specs_from_being_used(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE.replace("noop", "sleep"))

    with pytest.raises(SpecsUnusable, match="no job factory knows"):
        await open_specs(tmp_path, frozenset())
