"""Checks of one sequence: arguments, ACLs and the names that its nodes set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.model.operation import REQUEST_OPERATIONS
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from spincycle.spec.finding import Report
    from spincycle.spec.model import Sequence

_REQUEST_ONLY = ("acl", "max_running", "allow_extra")


def check_sequence(sequence: Sequence, report: Report) -> None:
    """Run every check on one sequence as a whole."""
    _arg_names(sequence, report)
    _arg_defaults(sequence, report)
    _nodes(sequence, report)
    _sets(sequence, report)
    _acl(sequence, report)
    _request_only(sequence, report)


def check_roles(sequence: Sequence, known: frozenset[str], report: Report) -> None:
    """Check that the roles of the ACL are among the known ones."""
    for acl in sequence.acl:
        if acl.role and acl.role not in known:
            report.on(
                "acl-unknown-role",
                sequence,
                None,
                "acl.role",
                f'no configuration mentions role "{acl.role}"{did_you_mean(acl.role, known)}, so '
                "no caller has it",
                at=acl.marks.get("role", acl.at),
                values=(acl.role,),
            )


def _arg_names(sequence: Sequence, report: Report) -> None:
    kinds: dict[str, str] = {}
    for arg in sequence.args.all():
        if not arg.name:
            report.on(
                "arg-unnamed",
                sequence,
                None,
                f"args.{arg.kind}.name",
                f"this {arg.kind} argument has no name",
                at=arg.at,
            )
        elif arg.name in kinds:
            report.on(
                "duplicate-arg",
                sequence,
                None,
                "args.*.name",
                f'"{arg.name}" is declared twice, the first time as {kinds[arg.name]}',
                at=arg.marks.get("name", arg.at),
                values=(arg.name,),
                advice="keep one of them",
            )
        kinds.setdefault(arg.name, arg.kind)


def _arg_defaults(sequence: Sequence, report: Report) -> None:
    for arg in sequence.args.all():
        field = f"args.{arg.kind}.default"
        if arg.kind == "required" and arg.has_default:
            report.on(
                "required-arg-default",
                sequence,
                None,
                field,
                "a required argument cannot have a default",
                at=arg.marks.get("default", arg.at),
                values=(f"{arg.default} ({arg.name or 'name not specified'})",),
                advice='move it to "optional" or remove the default',
            )
        if arg.kind != "required" and not arg.has_default:
            report.on(
                "default-missing",
                sequence,
                None,
                field,
                f'{arg.kind} argument "{arg.name}" requires a default',
                at=arg.at,
                values=(arg.name,),
                advice='add default: "" if it may be empty',
            )


def _nodes(sequence: Sequence, report: Report) -> None:
    if not sequence.nodes:
        report.on("no-nodes", sequence, None, "nodes", "a sequence requires at least one node")


def _sets(sequence: Sequence, report: Report) -> None:
    setters: dict[str, list[str]] = {arg.name: ["this sequence"] for arg in sequence.args.all()}
    last = {}
    for name in sorted(sequence.nodes):
        for as_, entry in {entry.as_: entry for entry in sequence.nodes[name].sets}.items():
            setters.setdefault(as_, []).append(name)
            last[as_] = (sequence.nodes[name], entry)
    for as_, (node, entry) in last.items():
        if len(setters[as_]) > 1 and as_:
            names = ", ".join(setters[as_])
            report.on(
                "set-twice",
                sequence,
                node,
                "nodes.sets.as",
                f'"{as_}" is set by {names}; a node reads the value of the ancestor that is '
                "created last",
                at=entry.as_at,
                values=(f"{as_} (set by {names})",),
                advice='give each another name with "as"',
            )


def _acl(sequence: Sequence, report: Report) -> None:
    roles: set[str] = set()
    for acl in sequence.acl:
        if not acl.role:
            report.on(
                "acl-role-missing", sequence, None, "acl.role", "this ACL has no role", at=acl.at
            )
        elif acl.role in roles:
            report.on(
                "acl-role-duplicate",
                sequence,
                None,
                "acl.role",
                f'role "{acl.role}" already has an ACL',
                at=acl.marks.get("role", acl.at),
                values=(acl.role,),
                advice="merge them",
            )
        roles.add(acl.role)
        if acl.admin and acl.ops:
            report.on(
                "acl-admin-and-ops",
                sequence,
                None,
                "acl.admin",
                "admin grants every operation, so ops must be omitted",
                at=acl.marks.get("admin", acl.at),
                values=("true",),
            )
        if not acl.admin and not acl.ops:
            report.on(
                "acl-grants-nothing",
                sequence,
                None,
                "acl.ops",
                f'role "{acl.role}" is granted nothing',
                at=acl.at,
                advice="add ops, or admin: true",
            )
        for op in acl.ops:
            if op not in REQUEST_OPERATIONS:
                report.on(
                    "acl-unknown-op",
                    sequence,
                    None,
                    "acl.ops",
                    f'unknown operation "{op}"{did_you_mean(op, REQUEST_OPERATIONS)}: use one of '
                    f"{', '.join(REQUEST_OPERATIONS)}",
                    at=acl.marks.get("ops", acl.at),
                    values=(op,),
                )


def _request_only(sequence: Sequence, report: Report) -> None:
    for field in _REQUEST_ONLY:
        if field in sequence.marks and not sequence.request:
            report.on(
                "request-only",
                sequence,
                None,
                field,
                f"{field} has no effect: this sequence is not a request",
            )
