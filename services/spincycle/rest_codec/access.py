"""The tables of callers, and of decisions on what they may do."""

from __future__ import annotations

from spincycle.rest_codec.codecs import FLAG, OPTIONAL_TIME, TEXT
from spincycle.rest_codec.tables import Field, ListOf, MessageCodec
from spincycle.v1 import access_service_pb2

ME = MessageCodec(
    "proto.Caller",
    access_service_pb2.WhoAmIResponse,
    [
        Field("name", "name", TEXT, doc="user of the requests that the caller creates"),
        Field("roles", "roles", ListOf(TEXT)),
        Field("authenticator", "authenticator", TEXT, doc="what accepted the caller"),
        Field("expiresAt", "expires_at", OPTIONAL_TIME, doc="end of the credential; null: none"),
        Field("admin", "admin", FLAG, doc="whether the caller may do everything"),
    ],
)

ACCESS_CHECK = MessageCodec(
    "proto.AccessCheck",
    access_service_pb2.CheckAccessResponse,
    [
        Field("allowed", "allowed", FLAG),
        Field("rule", "rule", TEXT, doc="rule that decided"),
        Field("message", "message", TEXT, doc="the decision and its ground, for people"),
        Field("grantingRoles", "granting_roles", ListOf(TEXT), doc="roles that may do it"),
    ],
)
