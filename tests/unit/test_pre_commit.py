"""The hooks run what `make check` runs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]

MAKEFILE = (REPOSITORY / "Makefile").read_text()
(LOCAL,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
ENTRIES = {hook["entry"] for hook in LOCAL["hooks"]}


def test_every_part_of_the_check_has_a_hook() -> None:
    rule = re.search(r"^check: \$\(READY\) ([^#]*)##.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert rule is not None
    commands = {line.strip().replace("$(BIN)", ".venv/bin") for line in rule[2].splitlines()}
    commands |= {f"make --silent {target}" for target in rule[1].split()}

    hooked = {entry.removesuffix(" --force-exclude") for entry in ENTRIES}
    assert {command.removesuffix(" .") for command in commands} == hooked


def test_no_hook_needs_the_network() -> None:
    assert LOCAL["repo"] == "local"
    assert {hook["language"] for hook in LOCAL["hooks"]} == {"system"}
