from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
import trustme
from tests.cli_samples import ID, entry, greet_spec, request
from tests.integration.cli.conftest import Ran
from tests.integration.cli.fake_services import FakeServices, Memory

Spinc = Callable[..., Ran]


@dataclass(frozen=True)
class Files:
    """PEM files of two authorities and a client."""

    ca: str
    other_ca: str
    cert: str
    key: str


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Files:
    client = authority.issue_cert("dana@example.com")
    made = {
        "ca.pem": authority.cert_pem.bytes(),
        "other-ca.pem": trustme.CA().cert_pem.bytes(),
        "cert.pem": b"".join(blob.bytes() for blob in client.cert_chain_pems),
        "key.pem": client.private_key_pem.bytes(),
    }
    for name, pem in made.items():
        (tmp_path / name).write_bytes(pem)
    return Files(*(str(tmp_path / name) for name in made))


def serving(authority: trustme.CA, name: str, *, requires_client_certificate: bool) -> FakeServices:
    """Services with a certificate for a name, which may require a client certificate."""
    server = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    return FakeServices(
        grpc.ssl_server_credentials(
            [(server.private_key_pem.bytes(), chain)],
            authority.cert_pem.bytes() if requires_client_certificate else None,
            requires_client_certificate,
        )
    )


@pytest.fixture
def services(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[FakeServices]:
    """TLS services; by default for 127.0.0.1 and without a client certificate."""
    name, requires_client_certificate = getattr(request, "param", ("127.0.0.1", False))
    with serving(authority, name, requires_client_certificate=requires_client_certificate) as fake:
        fake.update(fill)
        yield fake


def fill(memory: Memory) -> None:
    memory.specs = [greet_spec()]
    memory.requests[ID] = request()
    memory.entries[ID] = [entry("A000", "drain", position=1)]


@pytest.fixture
def tls_context(services: FakeServices, spinc: Spinc) -> Callable[..., None]:
    """Set and use a context with the TLS address of both services."""

    def keep(*options: str) -> None:
        address = services.tls_address
        both = ("--addr", address, "--job-log", address)
        assert spinc("context", "set", "safe", *both, *options).code == 0
        assert spinc("context", "use", "safe").code == 0

    return keep


@pytest.fixture(autouse=True)
def no_addresses(environment: dict[str, str]) -> None:
    """Unset the addresses of the environment, so that those of the context are used."""
    del environment["SPINC_ADDR"], environment["SPINC_JOB_LOG"]


def test_both_services_are_called_over_tls_with_a_token(
    services: FakeServices, spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    token = Path(files.ca).with_name("token")
    token.write_text("s3cret\n")
    tls_context("--ca", files.ca, "--token-file", str(token))

    assert spinc("-o", "name").out == "greet\n"
    assert spinc("log", ID, "-o", "name").out == "A000/1\n"
    assert ("authorization", "Bearer s3cret") in services.memory.metadata[-1]


@pytest.mark.parametrize("services", [("127.0.0.1", True)], indirect=True)
def test_the_client_certificate_is_sent_if_requested(
    spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.ca)
    assert spinc("status", ID).code == 1

    tls_context("--cert", files.cert, "--key", files.key)
    assert spinc("status", ID).code == 0


@pytest.mark.parametrize("services", [("rm.example.com", False)], indirect=True)
def test_the_expected_server_name_can_be_set(
    services: FakeServices, spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.ca)
    refused = spinc("status", ID)

    where = f"no TLS connection to the request manager at {services.tls_address}"
    assert refused.err.splitlines() == [
        f"error: {where}: its certificate is made out to another name",
        "       set the name to expect: spinc context set <name> --server-name <name>",
    ]

    tls_context("--server-name", "rm.example.com")
    assert spinc("status", ID).code == 0


def test_an_untrusted_certificate_is_reported(
    spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.other_ca)

    ran = spinc("status", ID)

    assert ran.code == 1
    assert "its certificate is not trusted\n" in ran.err
    assert "set the certificates to trust: spinc context set <name> --ca <file>" in ran.err


def test_a_service_without_tls_is_reported(
    services: FakeServices, spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.ca, "--addr", services.address)

    ran = spinc("status", ID)

    assert (ran.code, "it does not speak TLS\n" in ran.err) == (1, True)


def test_the_error_names_a_missing_file(spinc: Spinc, tls_context: Callable[..., None]) -> None:
    tls_context("--ca", "/no/such/ca.pem")

    assert (
        spinc("status", ID).err == "error: cannot read /no/such/ca.pem: No such file or directory\n"
    )


class OnlyTheList(BaseHTTPRequestHandler):
    """A gateway with one request."""

    def do_GET(self) -> None:
        body = json.dumps([{"Name": "greet", "Args": []}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is given
        """Log nothing."""


@pytest.fixture
def gateway(authority: trustme.CA) -> Iterator[str]:
    """URL of a gateway with a certificate for gw.example.com."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gw.example.com").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), OnlyTheList) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--server-name", "gw.example.com"), ""),
        ((), "its certificate is made out to another name"),
        (("--ca", "other"), "its certificate is not trusted"),
    ],
)
def test_a_gateway_is_called_over_tls(
    spinc: Spinc, files: Files, gateway: str, options: tuple[str, ...], expected: str
) -> None:
    options = tuple(files.other_ca if option == "other" else option for option in options)
    spinc("context", "set", "web", "--rest", gateway, "--ca", files.ca, *options)

    ran = spinc("--context", "web", "help", "greet", "-o", "name")

    assert (ran.code, ran.out) == ((1, "") if expected else (0, "greet\n"))
    assert expected in ran.err
