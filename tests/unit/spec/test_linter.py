from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from spincycle.admin.lint import lint_command

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = """\
sequences:
  restart-host:
    request: true
    nodes:
      restart: {category: job, type: noop}
      wait-healthy:
        category: job
        type: noop
        deps: [restrat]
"""
WARNED = "sequences:\n  w: {nodes: {n: {category: job, type: noop, sets: [x]}}}\n"
RIGHT = "sequences:\n  ok: {nodes: {n: {category: job, type: noop}}}\n"


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    (tmp_path / "specs").mkdir()
    return tmp_path / "specs"


def lint(*args: str) -> Result:
    result = CliRunner().invoke(lint_command, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_valid_specs_exit_with_0(specs: Path) -> None:
    (specs / "a.yaml").write_text(RIGHT)

    result = lint("specs")

    assert (result.exit_code, result.output) == (0, "nothing to report in 1 file\n")


def test_an_error_is_shown_with_its_line_and_a_caret_and_exits_with_1(specs: Path) -> None:
    (specs / "restart.yaml").write_text(BROKEN)

    result = lint("specs")

    text = 'no node "restrat" in this sequence (did you mean "restart"?)'
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "error[unknown-dep] specs/restart.yaml:9:16  restart-host / wait-healthy",
        "    9 |         deps: [restrat]",
        f"      |                ^^^^^^^ {text}",
        "",
        "1 error in 1 file",
    ]


def test_a_warning_fails_only_when_strict(specs: Path) -> None:
    (specs / "a.yaml").write_text(WARNED)

    assert lint("specs").exit_code == 0
    assert lint("--strict", "specs").exit_code == 1
    hidden = lint("--no-warnings", "specs")
    assert "unused-set" not in hidden.output
    assert "1 more not shown" in hidden.output


def test_files_and_directories_are_one_set_and_a_file_counts_once(specs: Path) -> None:
    (specs / "a.yaml").write_text(RIGHT)
    (specs / "b.yaml").write_text("sequences: {b: {nodes: {n: {category: sequence, type: ok}}}}")

    assert lint("specs", "specs/a.yaml").exit_code == 0
    assert lint("specs/b.yaml").exit_code == 1


def test_without_a_path_the_current_directory_is_checked(specs: Path) -> None:
    (specs / "restart.yaml").write_text(BROKEN)

    assert "specs/restart.yaml:9:16" in lint().output


def test_nothing_to_check_is_an_error(specs: Path) -> None:
    result = lint("specs")

    assert result.exit_code == 1
    assert "no-sequences" in result.output


@pytest.mark.parametrize(
    "args", [["nowhere"], ["--jobs", "no.such.module", "specs"], ["--sequences", "a,ok,b", "specs"]]
)
def test_invalid_input_exits_with_2(specs: Path, args: list[str]) -> None:
    (specs / "a.yaml").write_text(RIGHT)

    assert lint(*args).exit_code == 2


def test_every_unknown_requested_sequence_is_named(specs: Path) -> None:
    (specs / "a.yaml").write_text(RIGHT)

    assert 'no sequence "x", "y"' in lint("--sequences", "x,ok,y", "specs").output


def test_an_error_outside_the_requested_sequences_fails_and_is_counted(specs: Path) -> None:
    (specs / "a.yaml").write_text(RIGHT)
    (specs / "restart.yaml").write_text(BROKEN)

    result = lint("--sequences", "ok", "specs")

    assert result.exit_code == 1
    assert "unknown-dep" not in result.output
    assert "1 more not shown" in result.output


def test_an_unknown_job_type_is_an_error_once_job_factories_are_named(specs: Path) -> None:
    (specs / "a.yaml").write_text("sequences: {s: {nodes: {n: {category: job, type: sleap}}}}")

    alone = lint("specs")
    with_jobs = lint("--jobs", "spincycle.job.builtin", "specs")

    assert (alone.exit_code, with_jobs.exit_code) == (0, 1)
    assert "warning[unknown-job-type]" in alone.output
    assert "error[unknown-job-type]" in with_jobs.output


def test_roles_that_callers_cannot_have_are_warned_of(specs: Path) -> None:
    acl = "request: true, acl: [{role: dev, ops: [view, start]}, {role: on-cal, ops: [skip]}]"
    (specs / "a.yaml").write_text(
        f"sequences:\n  ok: {{{acl}, nodes: {{n: {{category: job, type: noop}}}}}}\n"
    )

    assert "acl" not in lint("specs").output
    warned = lint("--roles", "dev, on-call", "specs")
    assert warned.exit_code == 0
    assert "warning[acl-unknown-role]" in warned.output
    assert 'did you mean "on-call"?' in warned.output
    assert "acl" not in lint("--roles", "dev,on-cal", "specs").output


def test_json_holds_every_field_of_a_finding(specs: Path) -> None:
    (specs / "restart.yaml").write_text(BROKEN)

    result = lint("--format", "json", "specs")

    body = json.loads(result.output)
    assert (body["errors"], body["warnings"], body["revision"]) == (1, 0, None)
    assert body["findings"] == [
        {
            "code": "unknown-dep",
            "severity": "error",
            "file": "specs/restart.yaml",
            "line": 9,
            "column": 16,
            "endColumn": 23,
            "sequence": "restart-host",
            "node": "wait-healthy",
            "field": "deps",
            "values": ["restrat"],
            "message": 'no node "restrat" in this sequence (did you mean "restart"?)',
        }
    ]


def test_github_gets_workflow_commands(specs: Path) -> None:
    (specs / "re,start.yaml").write_text(BROKEN)

    line, *rest = lint("--format", "github", "specs").output.splitlines()

    assert rest == []
    assert line.startswith(
        "::error file=specs/re%2Cstart.yaml,line=9,col=16,endColumn=23,title=unknown-dep::"
        "restart-host / wait-healthy: no node"
    )


def test_colour_is_for_terminals_or_on_demand(specs: Path) -> None:
    (specs / "restart.yaml").write_text(BROKEN)

    assert "\x1b[" not in lint("specs").output
    assert "\x1b[31m" in lint("--color", "always", "specs").output


def test_control_characters_of_a_file_do_not_reach_the_terminal(specs: Path) -> None:
    text = 'sequences: {"s\\e[31m": {nodes: {n: {category: "j\\e[0mb", type: t}}}}'
    (specs / "a.yaml").write_text(text)

    assert "\x1b" not in lint("specs").output


def test_the_caret_is_correct_after_wide_characters_and_in_long_lines(specs: Path) -> None:
    pad = "x" * 300
    (specs / "a.yaml").write_text(
        f"sequences: {{'漢字': {{nodes: {{n: {{category: jib, type: t}}}}}}}}\n# {pad}\n"
    )
    (specs / "b.yaml").write_text(
        f"sequences: {{b: {{nodes: {{'{pad}': {{category: jib, type: t}}}}}}}}\n"
    )

    lines = lint("specs").output.splitlines()

    wide = next(i for i, line in enumerate(lines) if "a.yaml" in line)
    assert lines[wide + 1].index("jib") + 2 == lines[wide + 2].index("^^^")
    far = next(i for i, line in enumerate(lines) if "b.yaml" in line)
    assert lines[far + 1].index("jib") == lines[far + 2].index("^^^")
    assert len(lines[far + 1]) < 120


def test_all_codes_can_be_listed(specs: Path) -> None:
    result = lint("--codes")

    assert result.exit_code == 0
    assert any(line.startswith("unknown-dep ") for line in result.output.splitlines())
