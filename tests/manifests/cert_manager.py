"""Schemas of the objects that cert-manager manages, with the fields that the manifests use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
from tests.manifests.rendered import Manifest

VERSION = "cert-manager.io/v1"

Schema = dict[str, Any]


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    """Return the schema of an object that has no other fields."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


def _texts(pattern: str) -> Schema:
    return {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"type": "string", "pattern": pattern},
    }


NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
DURATION = {"type": "string", "pattern": "^[1-9][0-9]*h$"}

METADATA = _object(
    {"name": NAME, "namespace": NAME},
    {"labels": {"type": "object", "additionalProperties": {"type": "string"}}},
)

PRIVATE_KEY = _object(
    {
        "algorithm": {"const": "ECDSA"},
        "size": {"enum": [256, 384, 521]},
        "encoding": {"enum": ["PKCS1", "PKCS8"]},
        "rotationPolicy": {"enum": ["Always", "Never"]},
    }
)

SPECS: dict[str, Schema] = {
    "Issuer": {
        "oneOf": [
            _object({"selfSigned": _object({})}),
            _object({"ca": _object({"secretName": NAME})}),
        ]
    },
    "Certificate": _object(
        {
            "secretName": NAME,
            "issuerRef": _object(
                {
                    "group": {"const": "cert-manager.io"},
                    "kind": {"enum": ["Issuer", "ClusterIssuer"]},
                    "name": NAME,
                }
            ),
            "duration": DURATION,
            "renewBefore": DURATION,
            "privateKey": PRIVATE_KEY,
        },
        {
            "isCA": {"type": "boolean"},
            "commonName": {"type": "string", "maxLength": 64},
            "uris": _texts("^spiffe://"),
            "dnsNames": _texts("^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
            "usages": {
                "type": "array",
                "uniqueItems": True,
                "items": {
                    "enum": [
                        "digital signature",
                        "key encipherment",
                        "cert sign",
                        "server auth",
                        "client auth",
                    ]
                },
            },
        },
    ),
}
"""Schema of `spec`, by kind."""

_VALIDATORS = {
    kind: jsonschema.Draft202012Validator(
        _object(
            {
                "apiVersion": {"const": VERSION},
                "kind": {"const": kind},
                "metadata": METADATA,
                "spec": spec,
            }
        )
    )
    for kind, spec in SPECS.items()
}


def errors_of(manifest: Manifest) -> Iterator[str]:
    """Yield the errors of an object of cert-manager."""
    kind = manifest["kind"]
    if kind not in _VALIDATORS:
        yield f"tests/manifests/cert_manager.py has no schema for the kind {kind}"
        return
    for error in _VALIDATORS[kind].iter_errors(manifest):
        yield f"{error.json_path}: {error.message}"


def hours(duration: str) -> int:
    """Return a duration of a Certificate."""
    return int(duration.removesuffix("h"))
