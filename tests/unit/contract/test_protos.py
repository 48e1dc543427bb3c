"""Rules of the wire contract that buf does not check."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor

from spincycle.model.revision import encode_revision
from spincycle.rpc.channel import RETRYABLE

GENERATED = Path(__file__).parents[3] / "generated"

OPTIONS = {
    "spincycle.v1": {
        "csharp_namespace": "SpinCycle.V1",
        "go_package": "spincycle/v1;spincyclev1",
        "java_package": "spincycle.v1",
        "objc_class_prefix": "SPC",
        "php_namespace": "SpinCycle\\V1",
        "ruby_package": "SpinCycle::V1",
    },
    "spincycle.internal.v1": {
        "csharp_namespace": "SpinCycle.Internal.V1",
        "go_package": "spincycle/internal/v1;spincycleinternalv1",
        "java_package": "spincycle.internal.v1",
        "objc_class_prefix": "SPCI",
        "php_namespace": "SpinCycle\\Internal\\V1",
        "ruby_package": "SpinCycle::Internal::V1",
    },
}

ORIGINAL_MESSAGES = {
    "CreateRequest",
    "Error",
    "FinishRequest",
    "Job",
    "JobChain",
    "JobLog",
    "JobStatus",
    "Request",
    "RequestArg",
    "RequestFilter",
    "RequestProgress",
    "RequestSpec",
    "RunningStatus",
    "StatusFilter",
    "SuspendedJobChain",
}

PUBLIC_SERVICES = {
    "AccessService": {"WhoAmI", "CheckAccess"},
    "AuditService": {"ListAudit"},
    "RequestManagerService": {
        "Create",
        "Plan",
        "Get",
        "List",
        "Start",
        "Stop",
        "Suspend",
        "Resume",
        "Rerun",
        "Skip",
        "Explain",
        "GetJobChain",
        "StreamJobChain",
        "ListRunningJobs",
        "Watch",
    },
    "SpecService": {"ListSpecs", "Lint", "ReloadSpecs"},
    "ServerService": {"GetServerInfo"},
    "JobLogService": {"GetEntry", "ListEntries", "Tail"},
}

KEYWORDS = {
    "abstract", "alignas", "alignof", "any", "as", "associatedtype", "asm", "auto", "base", "begin",
    "bool", "boolean", "break", "byte", "case", "catch", "chan", "char", "checked", "concept",
    "const", "constexpr", "consteval", "constinit", "co_await", "co_return", "co_yield", "debugger",
    "decimal", "declare", "decltype", "default", "defer", "delegate", "delete", "deinit", "do",
    "double", "dynamic_cast", "else", "elsif", "end", "ensure", "enum", "event", "explicit",
    "export", "extends", "extension", "extern", "fallthrough", "fileprivate", "final", "finally",
    "fixed", "float", "for", "foreach", "friend", "from", "func", "function", "get", "go", "goto",
    "guard", "if", "implements", "implicit", "import", "in", "infix", "inline", "inout",
    "instanceof", "int", "interface", "internal", "is", "let", "lock", "long", "map", "module",
    "mutable", "namespace", "native", "new", "next", "nil", "noexcept", "null", "nullptr",
    "number", "object", "of", "open", "operator", "out", "override", "package", "params", "postfix",
    "precedencegroup", "prefix", "private", "protected", "protocol", "public", "range", "readonly",
    "record", "redo", "ref", "register", "reinterpret_cast", "repeat", "requires", "rescue",
    "rethrows", "retry", "return", "sbyte", "sealed", "select", "set", "short", "signed", "sizeof",
    "stackalloc", "static", "static_assert", "static_cast", "strictfp", "string", "struct",
    "subscript", "super", "switch", "symbol", "synchronized", "template", "then", "this",
    "thread_local", "throw", "throws", "transient", "true", "false", "try", "typealias", "typedef",
    "typeid", "typename", "typeof", "uint", "ulong", "unchecked", "undef", "union", "unless",
    "unsafe", "unsigned", "until", "ushort", "using", "var", "virtual", "void", "volatile",
    "wchar_t", "when", "where", "while", "with", "yield",
    # Members that every object has in some language.
    "hash", "class", "method", "send", "description", "init", "self",
    *keyword.kwlist,
}  # fmt: skip
"""Of Python, Java, C#, C++, Go, TypeScript, Swift and Ruby, in lower case."""

USABLE = {
    "id",
    "type",
    "name",
    "data",
    "final",
    "exit",
    "stdout",
    "stderr",
    "bytes",
    "until",
    "retry",
}
"""Tried in every language: each generates a name that callers can use."""


def files(package: str) -> Iterator[FileDescriptor]:
    for path in sorted((GENERATED / package.replace(".", "/")).glob("*_pb2.py")):
        yield importlib.import_module(f"{package}.{path.stem}").DESCRIPTOR


def messages(package: str) -> Iterator[Descriptor]:
    for file in files(package):
        yield from file.message_types_by_name.values()


def test_the_public_package_imports_nothing_internal() -> None:
    for file in files("spincycle.v1"):
        assert not [each.name for each in file.dependencies if "/internal/" in each.name], file.name


@pytest.mark.parametrize("package", sorted(OPTIONS))
def test_every_file_names_its_package_for_each_language(package: str) -> None:
    for file in files(package):
        options = file.GetOptions()
        assert file.package == package
        assert options.java_multiple_files, file.name
        for option, value in OPTIONS[package].items():
            assert getattr(options, option) == value, (file.name, option)


def test_the_messages_of_the_original_keep_their_names_in_the_public_package() -> None:
    assert {message.name for message in messages("spincycle.v1")} >= ORIGINAL_MESSAGES


def test_the_public_package_has_these_methods_and_no_other() -> None:
    services = {
        service.name: set(service.methods_by_name)
        for file in files("spincycle.v1")
        for service in file.services_by_name.values()
    }

    assert services == PUBLIC_SERVICES


def test_no_field_has_a_name_that_a_language_reserves() -> None:
    reserved = [
        f"{message.name}.{field.name}"
        for package in OPTIONS
        for message in messages(package)
        for field in message.fields
        if field.name in KEYWORDS - USABLE
    ]

    assert not reserved


def levels() -> dict[str, int]:
    """Idempotency level of each method, by service and method name."""
    return {
        f"{service.name}.{method.name}": method.GetOptions().idempotency_level
        for package in OPTIONS
        for file in files(package)
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_only_calls_that_create_something_have_no_idempotency_level() -> None:
    unknown = {name for name, level in levels().items() if not level}

    assert unknown == {
        "RequestManagerService.Create",
        "RequestManagerService.Rerun",
        "RequestManagerService.Skip",
        "JournalService.OfferOutput",
    }


def test_clients_retry_only_methods_that_are_idempotent() -> None:
    retried = {
        f"{service}.{method}"
        for services in RETRYABLE.values()
        for service, methods in services.items()
        for method in methods
    }

    assert all(levels()[name] for name in retried)


def test_every_list_of_the_public_package_has_pages() -> None:
    lists = [message for message in messages("spincycle.v1") if message.name.startswith("List")]

    for message in lists:
        paging = {"next_page_token"}
        if message.name.endswith("Request"):
            paging = {"page_size", "page_token"}
        assert paging <= set(message.fields_by_name), message.name
    assert len(lists) == 10


def test_revisions_are_text_whose_order_is_that_of_the_numbers() -> None:
    numbers = [0, 9, 10, 2**53, 2**53 + 1, 2**63 - 1]

    texts = [encode_revision(number) for number in numbers]

    assert texts == sorted(texts)
    assert {len(text) for text in texts} == {19}
    assert [int(text) for text in texts] == numbers
