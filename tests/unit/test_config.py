from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic_settings import SettingsConfigDict

from spincycle.config import Config, ConfigError, DatabaseConfig, load_config, print_config
from spincycle.gateway.config import GatewayConfig
from spincycle.job_log.config import JobLogConfig
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.request_manager.config import RequestManagerConfig

SERVICES = [RequestManagerConfig, JobRunnerConfig, JobLogConfig, GatewayConfig]


class ShopConfig(Config):
    """A shop's."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    listen: str = "127.0.0.1:1"
    """Where."""

    wares: tuple[str, ...] = ()
    """What."""

    database: DatabaseConfig = DatabaseConfig()
    """Which."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("SHOP_", "SPINCYCLE_"):
        for name in [name for name in __import__("os").environ if name.startswith(prefix)]:
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.yaml"


def test_without_a_word_the_defaults_hold() -> None:
    assert load_config(ShopConfig, None).database.max_connections == 8


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("listen: file:1\nwares: [tea]\ndatabase: {max_connections: 3}\n")
    monkeypatch.setenv("SHOP_LISTEN", "environment:1")
    monkeypatch.setenv("SHOP_DATABASE__STATEMENT_TIMEOUT", "7")

    config = load_config(ShopConfig, file)

    assert config.listen == "environment:1"
    assert config.wares == ("tea",)
    assert config.database.max_connections == 3
    assert config.database.statement_timeout == 7


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")

    assert load_config(ShopConfig, file).listen == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("lisen: x", "lisen: "),
        ("database: {max_conections: 1}", "database.max_conections: "),
        ("database: {max_connections: none}", "database.max_connections: "),
        ("database: {statement_timeout: 0}", "database.statement_timeout: "),
        ("log: {level: loud}", "log.level: "),
        ("- a\n- b", "must be a mapping"),
        ("1: a", "must be a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_a_file_says_wrongly_is_named_with_the_file(file: Path, said: str, named: str) -> None:
    file.write_text(said)

    with pytest.raises(ConfigError) as wrong:
        load_config(ShopConfig, file)

    assert named in str(wrong.value)
    assert str(file) in str(wrong.value)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(ShopConfig, file)


@pytest.mark.parametrize("name", ["SHOP_LISEN", "SHOP_DATABASE__MAX", "SHOP_DATABASE_DSN"])
def test_an_unknown_variable_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")

    with pytest.raises(ConfigError, match=f"{name}: no such configuration key"):
        load_config(ShopConfig, None)


def test_a_wrong_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE__MAX_CONNECTIONS", "many")

    with pytest.raises(ConfigError, match=r"database\.max_connections: .*the environment"):
        load_config(ShopConfig, None)


def test_all_mistakes_are_told_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("lisen: x\ndatabase: {statement_timeout: -1}")
    monkeypatch.setenv("SHOP_WEARS", "x")

    with pytest.raises(ConfigError) as wrong:
        load_config(ShopConfig, file)

    assert len(str(wrong.value).splitlines()) == 3


def test_variables_of_other_services_are_none_of_this_ones_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAKERY_LISTEN", "x")

    load_config(ShopConfig, None)


@pytest.mark.parametrize("model", SERVICES)
def test_the_printed_configuration_gives_itself_again(model: type[Config], file: Path) -> None:
    first = print_config(load_config(model, None))
    file.write_text(first)

    assert print_config(load_config(model, file)) == first


def test_secrets_are_masked_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE__DSN", "postgresql://u:hush@h/d")
    config = load_config(ShopConfig, None)

    assert config.database.dsn.get_secret_value() == "postgresql://u:hush@h/d"
    assert "hush" not in print_config(config)
    assert "hush" not in repr(config)


@pytest.mark.parametrize("model", SERVICES)
def test_every_key_says_what_it_is(model: type[Config]) -> None:
    def silent(section: type, path: str) -> list[str]:
        found = []
        for name, field in section.model_fields.items():  # type: ignore[attr-defined] # a model
            found += [] if field.description else [path + name]
            if hasattr(field.annotation, "model_fields"):
                found += silent(field.annotation, f"{path}{name}.")
        return found

    assert silent(model, "") == []


def test_no_two_services_share_an_environment_prefix() -> None:
    prefixes = [str(model.model_config["env_prefix"]) for model in SERVICES]

    assert not [
        (one, other)
        for one in prefixes
        for other in prefixes
        if one is not other and other.startswith(one)
    ]


def test_the_printed_configuration_is_yaml_with_every_key() -> None:
    printed = yaml.safe_load(print_config(load_config(JobLogConfig, None)))

    assert printed.keys() == JobLogConfig.model_fields.keys()
