from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from spincycle.cli.problem import Problem
from spincycle.cli.settings import Tls, resolve


@pytest.fixture
def no_config(tmp_path: Path) -> dict[str, str]:
    """An environment without a configuration file."""
    return {"SPINC_CONFIG": str(tmp_path / "missing.yaml")}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "spinc.yaml"
    path.write_text(
        "addr: file:1\n"
        "timeout: 1000\n"
        "env: staging\n"
        "contexts:\n"
        "  prod:\n"
        "    addr: prod:1\n"
        "    job-log: prod:2\n"
        "    tls: {ca: /ca.pem, server-name: rm.example.com}\n"
        f"    token-file: {tmp_path / 'token'}\n"
    )
    (tmp_path / "token").write_text("s3cret\n")
    return path


def test_the_default_addresses_are_local(no_config: dict[str, str]) -> None:
    settings = resolve({}, no_config)

    assert (settings.addr, settings.job_log) == ("127.0.0.1:32310", "127.0.0.1:32312")
    assert settings.timeout == 5.0


def test_options_override_environment_context_and_file(config: Path) -> None:
    environment = {"SPINC_CONFIG": str(config)}
    assert resolve({}, environment).addr == "file:1"
    assert resolve({"context": "prod"}, environment).addr == "prod:1"
    environment["SPINC_ADDR"] = "environment:1"
    assert resolve({"context": "prod"}, environment).addr == "environment:1"
    assert resolve({"context": "prod", "addr": "flag:1"}, environment).addr == "flag:1"


def test_all_keys_of_a_file_are_used(config: Path) -> None:
    settings = resolve({"config": str(config)}, {})

    assert (settings.timeout, settings.env) == (1.0, "staging")


def test_later_files_override_earlier_ones(config: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.yaml"
    later.write_text("addr: later:1\n")

    settings = resolve({"config": f"{config},{later}"}, {})

    assert (settings.addr, settings.timeout) == ("later:1", 1.0)


def test_a_context_sets_tls_and_a_token(config: Path) -> None:
    settings = resolve({"config": str(config)}, {"SPINC_CONTEXT": "prod"})

    assert settings.tls is not None
    assert (settings.tls.ca, settings.tls.server_name) == ("/ca.pem", "rm.example.com")
    assert settings.credential.token == "s3cret"
    assert "s3cret" not in repr(settings)


def login_of(config: Path, **options: str) -> str:
    login = resolve({"config": str(config), **options}, {}).login
    assert login is not None
    assert login.parent == config.with_name("spinc.tokens")
    return login.name


def test_each_context_has_a_login_for_each_address(config: Path) -> None:
    names = [
        login_of(config),
        login_of(config, addr="other:1"),
        login_of(config, context="prod"),
        login_of(config, context="prod", addr="other:1"),
        login_of(config, rest="https://gw.example.com/x"),
    ]

    assert names == [
        "@file%3A1.json",
        "@other%3A1.json",
        "prod@prod%3A1.json",
        "prod@other%3A1.json",
        "@https%3A%2F%2Fgw.example.com%2Fx.json",
    ]


@pytest.mark.parametrize("name", ["../x", "a@b", "é%", ".", "a/b"])
def test_no_name_of_a_context_leads_elsewhere(tmp_path: Path, name: str) -> None:
    config = tmp_path / "spinc.yaml"
    config.write_text(f"contexts: {{'{name}': {{}}}}\n")

    assert login_of(config, context=name) == f"{quote(name, safe='')}@127.0.0.1%3A32310.json"


def test_the_token_of_a_file_is_for_the_addresses_beside_it(config: Path, tmp_path: Path) -> None:
    (tmp_path / "top").write_text("of-all\n")
    config.write_text(config.read_text() + f"token-file: {tmp_path / 'top'}\n")

    def credential(**options: str) -> tuple[str, bool]:
        found = resolve({"config": str(config), **options}, {})
        return found.credential.token, found.credential.is_for(found.addr)

    assert credential() == ("of-all", True)
    assert credential(context="prod") == ("s3cret", True)
    assert credential(addr="evil:1") == ("of-all", False)
    assert credential(context="prod", addr="evil:1") == ("s3cret", False)
    assert credential(context="prod", addr="file:1") == ("of-all", True)


def test_a_variable_holds_a_token_for_the_addresses_in_use(config: Path) -> None:
    environment = {"SPINC_TOKEN": "own", "SPINC_ADDR": "other:1"}

    credential = resolve({"config": str(config), "context": "prod"}, environment).credential

    assert (credential.token, credential.is_for("other:1")) == ("own", True)


def test_a_url_as_address_selects_the_gateway(no_config: dict[str, str]) -> None:
    settings = resolve({"addr": "http://127.0.0.1:32308/"}, no_config)

    assert settings.rest == settings.target == "http://127.0.0.1:32308"


def test_missing_files_are_ignored(tmp_path: Path) -> None:
    assert resolve({"config": f"{tmp_path}/a.yaml,x"}, {}).addr == "127.0.0.1:32310"


@pytest.mark.parametrize(
    "text", ["addr: [", "- a\n", "adr: x\n", "contexts: 3\n", "contexts: {a: {b: 1}}\n", "tls: 1\n"]
)
def test_the_error_names_an_invalid_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spinc.yaml"
    path.write_text(text)

    with pytest.raises(Problem, match=r"spinc\.yaml"):
        resolve({"config": str(path)}, {})


def test_an_unknown_context_is_rejected(no_config: dict[str, str]) -> None:
    with pytest.raises(Problem, match='there is no context "prod"'):
        resolve({"context": "prod"}, no_config)


@pytest.mark.parametrize("timeout", ["0", "-5", "soon"])
def test_an_invalid_timeout_is_rejected(no_config: dict[str, str], timeout: str) -> None:
    with pytest.raises(Problem, match="timeout"):
        resolve({"timeout": timeout}, no_config)


def test_tls_without_files_is_still_tls(tmp_path: Path) -> None:
    path = tmp_path / "spinc.yaml"
    path.write_text("context: a\ncontexts: {a: {tls: {}}, b: {}}\n")

    assert resolve({"config": str(path)}, {}).tls == Tls()
    assert resolve({"config": str(path), "context": "b"}, {}).tls is None


def test_the_error_names_a_file_that_is_not_text(tmp_path: Path) -> None:
    binary = tmp_path / "spinc.yaml"
    binary.write_bytes(b"addr: \xff\n")
    with pytest.raises(Problem, match="is not UTF-8 text"):
        resolve({"config": str(binary)}, {})

    own = tmp_path / "own.yaml"
    own.write_text(f"token-file: {binary}\n")
    with pytest.raises(Problem, match="the token file"):
        resolve({"config": str(own)}, {})
