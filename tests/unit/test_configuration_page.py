"""The configuration reference has every key of every service, with its default."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.documentation.configuration_page import SERVICES, configuration_page

from spincycle.runtime.config import Config, print_config

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text("utf-8")


def test_the_page_is_generated_from_the_models() -> None:
    assert configuration_page() == PAGE, "run make generate and commit it"


@pytest.mark.parametrize(("name", "model"), SERVICES.items(), ids=list(SERVICES))
def test_every_key_that_a_service_prints_has_a_row(name: str, model: type[Config]) -> None:
    chapter = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    printed = yaml.safe_load(print_config(model()))

    assert [key for key in keys(printed, "") if f"\n| `{key}` | " not in chapter] == []


def keys(printed: dict[str, object], path: str) -> list[str]:
    """The paths of all keys of a printed configuration."""
    return [
        inner
        for key, value in printed.items()
        for inner in (keys(value, f"{path}{key}.") if isinstance(value, dict) else [f"{path}{key}"])
    ]
