"""The processes of an overlay on this machine, with files in place of Secrets and ConfigMaps."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import DNSName, UniformResourceIdentifier
from tests.identities import Authority
from tests.manifests.rendered import DSN, POD_IP, SCRIPTS, Manifests, port_of
from tests.mounted import mount

from spincycle.dev.ports import free_port

APPEND_GRANTS = "append-grants"

ACCESS_TOKENS = "access-tokens"

SEALING_KEYS = "sealing-keys"

AUDIT_KEY = "audit-key"


class Processes:
    """Starts workloads as their manifests say, but on free ports, and ends them.

    Args:
        directory: gets the files that the kubelet would mount, and the logs.
        dsn: address of the database, in place of the one in the Secret.

    Attributes:
        authority: issues the certificates that the manifests ask for.
        token: token of an operator.
    """

    def __init__(self, manifests: Manifests, directory: Path, dsn: str = DSN) -> None:
        self._manifests = manifests
        self._directory = directory
        self._dsn = dsn
        self._ports: dict[tuple[str, int], int] = defaultdict(free_port)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.authority = Authority(directory / "authority")
        for secret, spec in manifests.certificates().items():
            uris = map(UniformResourceIdentifier, spec.get("uris", ()))
            names = map(DNSName, spec.get("dnsNames", ()))
            certificate, key = self.authority.certify_for(secret, [*uris, *names])
            files = {"tls.crt": certificate, "tls.key": key, "ca.crt": self.authority.file}
            mount(directory / secret, {name: file.read_text() for name, file in files.items()})
        mount(directory / APPEND_GRANTS, {"keys": f"first {secrets.token_hex(32)}\n"})
        self.token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        tokens = f"operator: {{roles: [admin], sha256: {digest}}}\n"
        mount(directory / ACCESS_TOKENS, {"tokens.yaml": tokens})
        mount(directory / SEALING_KEYS, {"keys": f"first {secrets.token_hex(32)}\n"})
        signing_key = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        mount(directory / AUDIT_KEY, {"audit.key": signing_key.decode()})
        for name, stored in manifests.of_kind("ConfigMap").items():
            mount(directory / name, stored["data"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def addresses(self, name: str) -> dict[str, str]:
        """Return the addresses of a service on this machine, by name of the container port."""
        return {
            port: f"127.0.0.1:{self._ports[name, number]}"
            for port, number in self._manifests.ports(name).items()
        }

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a workload, with the addresses and files of this machine."""
        files = {
            path: self._directory / (volume.get("secret", {}).get("secretName") or volume["name"])
            for path, volume in self._manifests.mounts(name).items()
            if volume.keys() & {"secret", "configMap"}
        }
        adapted = {"PATH": os.environ["PATH"]}
        for key, value in self._manifests.environment(name).items():
            for path, directory in files.items():
                value = re.sub(f"^{re.escape(path)}(?=/|$)", str(directory), value)
            adapted[key] = self._address(name, value).replace(DSN, self._dsn)
        return adapted

    def start(self, name: str) -> None:
        """Start a service; its log is the file NAME.log in the directory."""
        with (self._directory / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(self._command(name), env=self.environment(name), stderr=log)
            )

    def run(self, name: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a service that cannot start in an environment, until it has ended."""
        return subprocess.run(
            self._command(name),
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _command(self, name: str) -> list[str | Path]:
        program, *words = self._manifests.container(name)["command"]
        return [SCRIPTS / program, *words]

    def _address(self, name: str, value: str) -> str:
        """Return an address on this machine for an address in the cluster."""
        if called := re.fullmatch(r"dns:///([a-z-]+):(\d+)", value):
            return f"127.0.0.1:{self._ports[called[1], int(called[2])]}"
        if re.fullmatch(rf"({re.escape(POD_IP)}|0\.0\.0\.0):\d+", value):
            host = value.rpartition(":")[0].replace(POD_IP, "127.0.0.1")
            return f"{host}:{self._ports[name, port_of(value)]}"
        return value
