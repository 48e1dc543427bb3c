from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from msgspec.structs import fields

from spincycle.gateway.config import GatewayConfig
from spincycle.job_log.config import JobLogConfig
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.runtime.config import (
    Config,
    ConfigError,
    DatabaseConfig,
    Section,
    TlsConfig,
    load_config,
    print_config,
)

SERVICES: list[type[Config]] = [RequestManagerConfig, JobRunnerConfig, JobLogConfig, GatewayConfig]


class ShopConfig(Config, frozen=True):
    """A shop's."""

    prefix: ClassVar[str] = "SHOP_"

    listen: str = "127.0.0.1:1"
    """Where."""

    wares: tuple[str, ...] = ()
    """What."""

    open: bool = False
    """Whether."""

    database: DatabaseConfig = DatabaseConfig()
    """Which."""

    tls: TlsConfig = TlsConfig()
    """How."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("SHOP_", "SPINCYCLE_"):
        for name in [name for name in __import__("os").environ if name.startswith(prefix)]:
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.yaml"


def test_without_settings_the_defaults_apply() -> None:
    assert load_config(ShopConfig, None).database.max_connections == 8


def test_the_environment_overrides_the_file_and_the_file_the_defaults(
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


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")

    assert load_config(ShopConfig, file).listen == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("lisen: x", 'lisen: no such configuration key (did you mean "listen"?)'),
        ("level: debug", 'level: no such configuration key (did you mean "log.level"?)'),
        (
            "database: {max_conections: 1}",
            'database.max_conections: no such configuration key (did you mean "max_connections"?)',
        ),
        (
            "database: {max_connections: none}",
            "database.max_connections: expected `int`, got `str`",
        ),
        (
            "database: {max_connections: 1.5}",
            "database.max_connections: expected `int`, got `float`",
        ),
        (
            "database: {max_connections: true}",
            "database.max_connections: expected `int`, got `bool`",
        ),
        ("database: {max_connections: '3'}", "database.max_connections: expected `int`"),
        ("database: {statement_timeout: 0}", "database.statement_timeout: expected `float` > 0"),
        ("database: [dsn]", "database: must be a mapping of keys, not list"),
        ("database: {dsn: 7}", "database.dsn: expected `str`, got `int`"),
        ("tls: {key: [a]}", "tls.key: expected `str`, got `list`"),
        ("wares: tea", "wares: expected `array`, got `str`"),
        ("open: 1", "open: expected `bool`, got `int`"),
        ("log: {level: loud}", "log.level: expected `str` matching regex"),
        ("- a\n- b", "must be a mapping"),
        ("1: a", "must be a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_an_invalid_key_in_a_file_is_reported_with_the_file(
    file: Path, content: str, named: str
) -> None:
    file.write_text(content)

    with pytest.raises(ConfigError) as wrong:
        load_config(ShopConfig, file)

    assert named in str(wrong.value)
    assert str(file) in str(wrong.value)


def test_a_missing_file_is_reported(file: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(ShopConfig, file)


@pytest.mark.parametrize(
    "name", ["SHOP_LISEN", "SHOP_DATABASE__MAX", "SHOP_DATABASE_DSN", "SHOP_DATABASE", "shop_lisen"]
)
def test_an_unknown_variable_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")

    with pytest.raises(ConfigError, match=f"{name}: no such configuration key"):
        load_config(ShopConfig, None)


def test_a_variable_without_its_section_suggests_all_matching_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPINCYCLE_JR_LISTEN", "127.0.0.1:32311")

    with pytest.raises(ConfigError) as wrong:
        load_config(JobRunnerConfig, None)

    assert (
        'did you mean "SPINCYCLE_JR_METRICS__LISTEN" or "SPINCYCLE_JR_INTERNAL__LISTEN" or '
        '"SPINCYCLE_JR_HEALTH__LISTEN"?'
    ) in str(wrong.value)


def test_an_unset_key_has_the_default_of_its_service(file: Path) -> None:
    file.write_text("internal: {}\nhealth: {listen: '127.0.0.1:1'}\n")

    config = load_config(JobLogConfig, file)

    assert config.internal.listen == "127.0.0.1:32322"
    assert config.health.listen == "127.0.0.1:1"


def test_an_invalid_value_in_the_environment_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE__MAX_CONNECTIONS", "many")

    with pytest.raises(ConfigError) as wrong:
        load_config(ShopConfig, None)

    assert str(wrong.value) == (
        "database.max_connections: expected `int`, got `str` (in SHOP_DATABASE__MAX_CONNECTIONS)"
    )


def test_a_valid_value_in_the_file_does_not_hide_an_invalid_one_in_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("database: {max_connections: 3}")
    monkeypatch.setenv("SHOP_DATABASE__MAX_CONNECTIONS", "0")

    with pytest.raises(ConfigError, match=r"`int` >= 1 \(in SHOP_DATABASE__MAX_CONNECTIONS\)"):
        load_config(ShopConfig, file)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("true", True), ("yes", True), ("on", True), ("False", False), ("no", False), ("off", False)],
)
def test_booleans_in_the_environment_are_parsed_as_yaml(
    text: str, meant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_OPEN", text)

    assert load_config(ShopConfig, None).open is meant


@pytest.mark.parametrize("text", ['["tea", "ink"]', "[tea, ink]"])
def test_lists_in_the_environment_are_parsed_as_json_or_yaml(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_WARES", text)

    assert load_config(ShopConfig, None).wares == ("tea", "ink")


@pytest.mark.parametrize("text", ["7", "[a", "yes", "", "{a: b}"])
def test_text_in_the_environment_is_taken_literally(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LISTEN", text)
    monkeypatch.setenv("SHOP_DATABASE__DSN", text)

    config = load_config(ShopConfig, None)

    assert (config.listen, config.database.dsn.reveal()) == (text, text)


def test_text_that_is_not_yaml_has_the_wrong_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_WARES", "[tea")

    with pytest.raises(ConfigError, match="wares: expected `array`, got `str`"):
        load_config(ShopConfig, None)


def test_an_empty_variable_means_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TLS__KEY", "")
    monkeypatch.setenv("SHOP_TLS__CLIENT_CA", "ca.pem")

    config = load_config(ShopConfig, None)

    assert (config.tls.key, config.tls.client_ca) == (None, Path("ca.pem"))


def test_names_of_variables_are_case_insensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("shop_database__max_connections", "3")

    assert load_config(ShopConfig, None).database.max_connections == 3


def test_an_empty_section_changes_nothing(file: Path) -> None:
    file.write_text("database:\n  # dsn: postgresql://elsewhere/shop\n")

    assert load_config(ShopConfig, file).database.max_connections == 8


def test_all_problems_are_reported_together(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("lisen: x\ndatabase: {statement_timeout: -1}")
    monkeypatch.setenv("SHOP_WEARS", "x")

    with pytest.raises(ConfigError) as wrong:
        load_config(ShopConfig, file)

    assert len(str(wrong.value).splitlines()) == 3


def test_variables_of_other_services_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAKERY_LISTEN", "x")

    load_config(ShopConfig, None)


@pytest.mark.parametrize("model", SERVICES)
def test_the_printed_configuration_can_be_loaded_again(model: type[Config], file: Path) -> None:
    first = print_config(load_config(model, None))
    file.write_text(first)

    assert print_config(load_config(model, file)) == first


def test_secrets_are_masked_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE__DSN", "postgresql://u:hush@h/d")
    config = load_config(ShopConfig, None)

    assert config.database.dsn.reveal() == "postgresql://u:hush@h/d"
    assert "hush" not in print_config(config)
    assert "hush" not in f"{config} {config!r} {config.database.dsn} {config.database.dsn!r}"


@pytest.mark.parametrize("model", SERVICES)
def test_every_key_is_documented(model: type[Config]) -> None:
    def silent(section: type[Section]) -> list[str]:
        found = [name for one in _sections(section) for name in _undescribed(one)]
        for field in fields(section):
            if isinstance(field.type, type) and issubclass(field.type, Section):
                found += silent(field.type)
        return found

    assert silent(model) == []


def _sections(section: type[Section]) -> list[type[Section]]:
    return [one for one in section.__mro__ if issubclass(one, Section) and one is not Section]


def _undescribed(section: type[Section]) -> list[str]:
    """Keys of a class that no text follows."""
    (defined,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(defined, ast.ClassDef)
    return [
        f"{section.__name__}.{ast.unparse(line.target)}"
        for line, following in zip(defined.body, [*defined.body[1:], None], strict=True)
        if isinstance(line, ast.AnnAssign)
        and not ast.unparse(line.annotation).startswith("ClassVar")
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]


def test_no_two_services_share_an_environment_prefix() -> None:
    prefixes = [model.prefix for model in SERVICES]

    assert not [
        (one, other)
        for one in prefixes
        for other in prefixes
        if one is not other and other.startswith(one)
    ]


def test_the_printed_configuration_is_yaml_with_every_key() -> None:
    printed = yaml.safe_load(print_config(load_config(JobLogConfig, None)))

    assert list(printed) == [field.name for field in fields(JobLogConfig)]
