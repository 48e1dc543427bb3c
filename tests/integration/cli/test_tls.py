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
    """PEM files of an authority, of another one, and of a client."""

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


def serving(authority: trustme.CA, name: str, *, asks: bool) -> FakeServices:
    """Services that show a certificate made out to a name, and may ask for the client's."""
    server = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    return FakeServices(
        grpc.ssl_server_credentials(
            [(server.private_key_pem.bytes(), chain)],
            authority.cert_pem.bytes() if asks else None,
            asks,
        )
    )


@pytest.fixture
def services(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[FakeServices]:
    """In place of the plain ones: by default made out to 127.0.0.1, no certificate asked for."""
    name, asks = getattr(request, "param", ("127.0.0.1", False))
    with serving(authority, name, asks=asks) as fake:
        fake.tell(fill)
        yield fake


def fill(memory: Memory) -> None:
    memory.specs = [greet_spec()]
    memory.requests[ID] = request()
    memory.entries[ID] = [entry("A000", "drain", position=1)]


@pytest.fixture
def tls_context(services: FakeServices, spinc: Spinc) -> Callable[..., None]:
    """Keep and use a context that names the TLS address of both services."""

    def keep(*options: str) -> None:
        address = services.tls_address
        both = ("--addr", address, "--job-log", address)
        assert spinc("context", "set", "safe", *both, *options).code == 0
        assert spinc("context", "use", "safe").code == 0

    return keep


@pytest.fixture(autouse=True)
def no_addresses(environment: dict[str, str]) -> None:
    """Let the context alone say where the services are."""
    del environment["SPINC_ADDR"], environment["SPINC_JOB_LOG"]


def test_both_services_are_spoken_to_over_tls_with_a_token(
    services: FakeServices, spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    token = Path(files.ca).with_name("token")
    token.write_text("s3cret\n")
    tls_context("--ca", files.ca, "--token-file", str(token))

    assert spinc("-o", "name").out == "greet\n"
    assert spinc("log", ID, "-o", "name").out == "A000/1\n"
    assert ("authorization", "Bearer s3cret") in services.memory.metadata[-1]


@pytest.mark.parametrize("services", [("127.0.0.1", True)], indirect=True)
def test_the_own_certificate_is_shown_where_it_is_asked_for(
    spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.ca)
    assert spinc("status", ID).code == 1

    tls_context("--cert", files.cert, "--key", files.key)
    assert spinc("status", ID).code == 0


@pytest.mark.parametrize("services", [("rm.example.com", False)], indirect=True)
def test_another_name_than_that_of_the_address_can_be_expected(
    services: FakeServices, spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.ca)
    refused = spinc("status", ID)

    where = f"no TLS connection to the request manager at {services.tls_address}"
    assert refused.err.splitlines() == [
        f"error: {where}: its certificate is made out to another name",
        "       spinc context set <name> --server-name NAME tells which name to expect",
    ]

    tls_context("--server-name", "rm.example.com")
    assert spinc("status", ID).code == 0


def test_a_certificate_that_is_not_trusted_is_told(
    spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.other_ca)

    ran = spinc("status", ID)

    assert ran.code == 1
    assert "its certificate is not trusted\n" in ran.err
    assert "--ca FILE names the certificates to trust" in ran.err


def test_a_service_that_does_not_speak_tls_is_told(
    services: FakeServices, spinc: Spinc, files: Files, tls_context: Callable[..., None]
) -> None:
    tls_context("--ca", files.ca, "--addr", services.address)

    ran = spinc("status", ID)

    assert (ran.code, "it does not speak TLS\n" in ran.err) == (1, True)


def test_a_file_that_is_not_there_is_named(spinc: Spinc, tls_context: Callable[..., None]) -> None:
    tls_context("--ca", "/no/such/ca.pem")

    assert (
        spinc("status", ID).err == "error: cannot read /no/such/ca.pem: No such file or directory\n"
    )


class OnlyTheList(BaseHTTPRequestHandler):
    """A gateway that knows one request."""

    def do_GET(self) -> None:
        body = json.dumps([{"Name": "greet", "Args": []}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is given
        """Say nothing."""


@pytest.fixture
def gateway(authority: trustme.CA) -> Iterator[str]:
    """URL of a gateway whose certificate is made out to gw.example.com."""
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
    ("options", "told"),
    [
        (("--server-name", "gw.example.com"), ""),
        ((), "its certificate is made out to another name"),
        (("--ca", "other"), "its certificate is not trusted"),
    ],
)
def test_a_gateway_is_spoken_to_over_tls(
    spinc: Spinc, files: Files, gateway: str, options: tuple[str, ...], told: str
) -> None:
    options = tuple(files.other_ca if option == "other" else option for option in options)
    spinc("context", "set", "web", "--rest", gateway, "--ca", files.ca, *options)

    ran = spinc("--context", "web", "help", "greet", "-o", "name")

    assert (ran.code, ran.out) == ((1, "") if told else (0, "greet\n"))
    assert told in ran.err
