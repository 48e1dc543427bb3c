"""Spec sets with exactly one fault, each with the position that a finding must have.

A fault is written into a random valid set. The text that a finding must point at is between the
marks ⟦ and ⟧, which are removed before the set is checked.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Spec = dict[str, Any]
    Mutation = Callable[[Spec], None]


@dataclass(frozen=True, slots=True)
class Broken:
    """A spec text with one fault, and the expected finding."""

    text: str
    code: str
    line: int
    column: int
    end: int


def valid_spec(draw: random.Random) -> Spec:
    """Return a set without findings; the number of extra sequences and nodes varies."""

    def job(type_: str, **fields: Any) -> Spec:
        return {"category": "job", "type": type_, **fields}

    top: Spec = {
        "request": "true",
        "args": {
            "required": [{"name": "hosts", "type": "list"}],
            "optional": [{"name": "mode", "default": "fast"}],
            "static": [{"name": "team", "default": "ops"}],
        },
        "nodes": {
            "find": job("finder", args=[{"expected": "mode"}], sets=[{"arg": "found"}]),
            "work": {
                "category": "sequence",
                "type": "part",
                "each": ['"hosts:host"'],
                "parallel": "2",
                "args": [{"expected": "found"}],
                "deps": "[find]",
                "retry": "2",
                "retryWait": "1s",
            },
            "choose": {
                "category": "conditional",
                "if": "mode",
                "eq": {"fast": "left", "default": "right"},
                "args": [{"expected": "found"}],
                "deps": "[work]",
            },
            "done": job("notifier", args=[{"expected": "team"}], deps="[choose]"),
        },
    }
    part: Spec = {
        "args": {"required": [{"name": "host"}, {"name": "found"}]},
        "nodes": {"visit": job("visitor", args=[{"expected": "host"}, {"expected": "found"}])},
    }
    spec: Spec = {"top": top, "part": part}
    for name in ("left", "right"):
        spec[name] = {
            "args": {"required": [{"name": "found"}]},
            "nodes": {"step": job("stepper", args=[{"expected": "found"}])},
        }
    for number in range(draw.randrange(4)):
        spec[f"more{number}"] = {"nodes": {"n": job("noop")}}
        top["nodes"][f"again{number}"] = job("other", deps="[find]")
    return spec


def write(value: Any, draw: random.Random, indent: int = 0) -> str:
    """Return YAML in block style with keys in random order; texts are written verbatim."""
    pad = " " * indent
    lines = []
    if isinstance(value, dict):
        for key in draw.sample(list(value), len(value)):
            inner = value[key]
            if isinstance(inner, str):
                lines.append(f"{pad}{key}: {inner}".rstrip() + "\n")
            else:
                lines.append(f"{pad}{key}:\n{write(inner, draw, indent + 2)}")
    else:
        for element in value:
            text = write(element, draw, indent + 2) if isinstance(element, dict) else element
            lines.append(f"{pad}- {text.strip()}\n")
    return "".join(lines)


def broken(code: str, mutate: Mutation, seed: int) -> Broken:
    """Return the valid set of a seed with one fault."""
    draw = random.Random(seed)
    spec = valid_spec(draw)
    mutate(spec)
    marked = f"sequences:\n{write(spec, draw, 2)}"
    start, stop = marked.index("⟦"), marked.index("⟧")
    line = marked[:start].count("\n") + 1
    column = start - (marked.rfind("\n", 0, start) + 1) + 1
    return Broken(re.sub("[⟦⟧]", "", marked), code, line, column, column + stop - start - 1)


def _node(name: str, **changes: Any) -> Mutation:
    """Set fields of a node of "top"; None removes a field."""

    def mutate(spec: Spec) -> None:
        node = spec["top"]["nodes"][name]
        for field, value in changes.items():
            key = field.rstrip("_")
            if value is None:
                del node[key]
            else:
                node[key] = value

    return mutate


def _marked_node(name: str, **changes: Any) -> Mutation:
    """As `_node`, but the finding must point at the node's name."""

    def mutate(spec: Spec) -> None:
        _node(name, **changes)(spec)
        nodes = spec["top"]["nodes"]
        nodes[f"⟦{name}⟧"] = nodes.pop(name)

    return mutate


def _top(**changes: Any) -> Mutation:
    return lambda spec: spec["top"].update(changes)


def _args(kind: str, *entries: Any) -> Mutation:
    """Add declarations to "top"."""
    return lambda spec: spec["top"]["args"][kind].extend(entries)


def _add_sequence(name: str, body: Any) -> Mutation:
    return lambda spec: spec.update({name: body})


def _cycle(spec: Spec) -> None:
    spec["part"]["nodes"]["back"] = {"category": "sequence", "type": "⟦top⟧"}


def _failed(spec: Spec) -> None:
    spec["left"]["nodes"]["step"]["deps"] = "[missing]"
    spec["top"]["nodes"]["choose"]["eq"] = "⟦{fast: left, default: right}⟧"


MUTATIONS: list[tuple[str, Mutation]] = [
    ("unknown-key", _node("find", **{"⟦kategory⟧": "job"})),
    ("wrong-type", _node("work", retry="⟦often⟧")),
    ("wrong-type", _node("work", retry='⟦"2"⟧')),
    ("wrong-type", _node("work", retry="⟦-1⟧")),
    ("wrong-type", _node("done", deps="⟦choose⟧")),
    ("wrong-type", _node("done", args="⟦{expected: team}⟧")),
    ("wrong-type", _top(request='⟦"true"⟧')),
    ("wrong-type", _top(acl=[{"role": "dev", "ops": "⟦start⟧"}])),
    ("truncated-number", _node("work", retry="⟦1.5⟧")),
    ("empty-entry", _add_sequence("⟦hollow⟧", "")),
    ("empty-entry", lambda spec: spec["top"]["nodes"].update({"⟦hollow⟧": "~"})),
    ("empty-entry", _node("done", args="[{expected: team}, ⟦~⟧]")),
    ("empty-entry", _node("find", sets="[found, ⟦null⟧]")),
    ("duplicate-arg", _args("static", {"name": "⟦mode⟧", "default": "x"})),
    ("required-arg-default", lambda s: s["top"]["args"]["required"][0].update(default="⟦x⟧")),
    ("arg-unnamed", _args("required", "⟦{desc: no name}⟧")),
    ("arg-unnamed", _args("optional", '⟦{default: ""}⟧')),
    ("arg-unnamed", _args("static", '⟦{default: ""}⟧')),
    ("default-missing", _args("optional", "⟦{name: lonely}⟧")),
    ("default-missing", _args("static", "⟦{name: lonely, default: null}⟧")),
    ("default-invalid", _args("static", "{name: n, type: int, default: ⟦many⟧}")),
    ("default-invalid", _args("optional", "{name: n, enum: [a, b], default: ⟦c⟧}")),
    ("arg-type-invalid", _args("required", "{name: n, type: ⟦strng⟧}")),
    ("arg-type-invalid", _args("required", '{name: n, pattern: ⟦"["⟧}')),
    ("arg-type-invalid", _args("required", "{name: n, type: int, min: ⟦5⟧, max: 4}")),
    ("no-nodes", _add_sequence("⟦bare⟧", {"request": "true"})),
    ("set-twice", _node("work", sets="[{arg: host, as: ⟦found⟧, collect: true}]")),
    ("set-twice", _node("find", sets="[found, {arg: x, as: ⟦mode⟧}]")),
    ("acl-admin-and-ops", _top(acl="[{role: x, admin: ⟦true⟧, ops: [stop]}]")),
    ("acl-role-missing", _top(acl="[⟦{admin: true}⟧]")),
    ("acl-role-duplicate", _top(acl="[{role: x, ops: [stop]}, {role: ⟦x⟧, admin: true}]")),
    ("acl-unknown-op", _top(acl="[{role: x, ops: ⟦[stopp]⟧}]")),
    ("acl-grants-nothing", _top(acl="[⟦{role: x}⟧]")),
    ("acl-unknown-role", _top(acl="[{role: x, ops: [view]}, {role: ⟦stranger⟧, admin: true}]")),
    ("request-only", lambda spec: spec["part"].update(max_running="⟦3⟧")),
    ("unused-arg", _args("static", "{name: ⟦lonely⟧, default: x}")),
    ("unused-set", _node("done", sets="[⟦lonely⟧]")),
    ("each-invalid", _node("work", each='["hosts:host", ⟦"hosts"⟧]')),
    ("each-element-duplicate", _node("work", each='["hosts:host", ⟦"found:host"⟧]')),
    ("each-element-expected", _node("work", each='["hosts:host", ⟦"hosts:found"⟧]')),
    ("each-list-twice", _node("work", each='["hosts:host", ⟦"hosts:other"⟧]')),
    ("each-list-given", _node("work", each='["hosts:host", ⟦"found:x"⟧]')),
    ("expected-missing", _node("done", args="[{expected: team}, ⟦{given: mode}⟧]")),
    ("expected-duplicate", _node("done", args="[{expected: team}, {expected: ⟦team⟧}]")),
    ("expected-duplicate", _node("done", args="[expected: team, {expected: ⟦team⟧, given: mode}]")),
    ("given-twice", _node("done", args="[{expected: team}, {expected: t, given: ⟦team⟧}]")),
    ("sets-arg-missing", _node("find", sets="[found, ⟦{as: x}⟧]")),
    ("sets-as-duplicate", _node("find", sets="[found, {arg: x, as: ⟦found⟧}]")),
    ("sets-as-duplicate", _node("find", sets="[found, ⟦found⟧]")),
    ("sets-arg-twice", _node("find", sets="[found, {arg: ⟦found⟧, as: x}]")),
    ("sets-last-element", _node("work", sets="[⟦found⟧]")),
    ("collect-without-each", _node("find", sets="[{arg: ⟦found⟧, collect: true}]")),
    ("parallel-invalid", _node("work", parallel="⟦0⟧")),
    ("parallel-without-each", _node("find", parallel="⟦2⟧")),
    ("category-missing", _marked_node("find", category=None)),
    ("category-unknown", _node("find", category="⟦jobb⟧")),
    ("type-missing", _marked_node("done", type=None)),
    ("type-on-conditional", _node("choose", type="⟦left⟧")),
    ("if-missing", _marked_node("choose", if_=None)),
    ("if-on-other", _node("done", if_="⟦mode⟧")),
    ("eq-missing", _marked_node("choose", eq=None)),
    ("eq-on-other", _node("done", eq="⟦{a: left}⟧")),
    ("unreachable-branch", _node("choose", if_="team", eq="{ops: left, dev: ⟦right⟧}")),
    ("no-branch", _node("choose", if_="team", eq="⟦{dev: right}⟧")),
    ("retry-wait-no-retry", _node("done", retryWait="⟦1s⟧")),
    ("backoff-no-retry", _node("done", backoff="⟦{factor: 2}⟧")),
    ("retry-never-applies", _node("done", type="noop", retry="⟦3⟧")),
    ("backoff-never-applies", _node("work", backoff="⟦{factor: 1}⟧")),
    ("duration-invalid", _node("work", retryWait="⟦5⟧")),
    ("duration-invalid", _node("work", retryWait="⟦-5s⟧")),
    ("duration-invalid", _node("done", timeout="⟦soon⟧")),
    ("duration-invalid", _top(timeout="⟦0s⟧")),
    ("backoff-invalid", _node("work", backoff="{factor: ⟦0.5⟧}")),
    ("backoff-invalid", _node("work", backoff="{jitter: ⟦2⟧}")),
    ("interruption-invalid", _node("done", interruption="⟦stop⟧")),
    ("interruption-invalid", _node("work", interruption="⟦fail⟧")),
    ("max-running-invalid", _top(max_running="⟦0⟧")),
    ("unknown-sequence", _node("work", type="⟦prat⟧")),
    ("unknown-sequence", _node("choose", eq="{fast: left, default: ⟦wright⟧}")),
    ("unknown-job-type", _node("done", type="⟦notifer⟧")),
    ("required-arg-missing", _marked_node("work", args=None)),
    ("required-arg-missing", _node("choose", args="⟦[{expected: mode}]⟧")),
    ("extra-arg", _node("work", args="[{expected: found}, {expected: ⟦mode⟧}]")),
    ("extra-arg", _node("work", each='["hosts:host", ⟦"hosts:other"⟧]')),
    ("unknown-dep", _node("done", deps="[choose, ⟦chose⟧]")),
    ("dependency-cycle", _node("find", deps="[⟦work⟧]")),
    ("dependency-cycle", _node("find", deps="[⟦find⟧]")),
    ("arg-not-set", _node("done", args="[{expected: team}, {expected: x, given: ⟦taem⟧}]")),
    ("arg-not-set", _node("done", args="[{expected: team}, {expected: ⟦found⟧}]", deps="[]")),
    ("arg-not-set", _node("work", each='["hosts:host", ⟦"ports:port"⟧]')),
    ("arg-not-set", _node("choose", if_="⟦mood⟧")),
    ("arg-not-set", _node("work", args="[{expected: found}, {expected: h, given: ⟦host⟧}]")),
    ("sequence-failed", _failed),
    ("sequence-cycle", _cycle),
    ("sets-not-guaranteed", _node("choose", sets="[⟦result⟧]")),
    ("sets-not-guaranteed", _node("work", sets="[{arg: ⟦fuond⟧, as: x, collect: true}]")),
]
