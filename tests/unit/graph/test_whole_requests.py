"""Complete requests of the kinds that the original's tests build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.graph.shapes import all_named, named, names, parents

from spincycle.errors import ChainNotBuilt

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

RETIRE = """
sequences:
  retire-cluster:
    request: true
    args:
      required: [{name: cluster}]
      static: [{name: spare, default: spare-1}]
    nodes:
      list-nodes:
        category: job
        type: list
        args: [{expected: cluster}]
        sets: [{arg: nodes, as: members}]
        retry: 3
        retryWait: 10s
      verify:
        category: sequence
        type: verify-node
        each: ["members:node"]
        parallel: 3
        deps: [list-nodes]
        retry: 3
        retryWait: 10s
      freeze: {category: job, type: freeze, args: [{expected: cluster}], deps: [verify]}
      remove:
        category: sequence
        type: remove-node
        each: ["members:node"]
        parallel: 2
        deps: [freeze]
      tidy-1: {category: job, type: tidy, args: [{expected: cluster}], deps: [remove]}
      tidy-2: {category: job, type: tidy, args: [{expected: cluster}], deps: [tidy-1]}
      tidy-3: {category: job, type: tidy, args: [{expected: cluster, given: spare}], deps: [tidy-2]}
      tidy-4: {category: job, type: tidy, args: [{expected: cluster}], deps: [tidy-2]}
  verify-node:
    args: {required: [{name: node}]}
    nodes:
      ping: {category: job, type: ping, args: [{expected: host, given: node}], sets: [machine]}
      ask: {category: job, type: ask, args: [{expected: machine}, {expected: node}], deps: [ping]}
  remove-node:
    args: {required: [{name: node}]}
    nodes:
      drop: {category: job, type: drop, args: [{expected: host, given: node}]}
"""


async def test_two_repeated_sequences_and_a_fan_out(bench: Workbench) -> None:
    bench.jobs.creates["list"] = lambda args: args.update(nodes=["n1", "n2", "n3", "n4"])
    bench.jobs.creates["ping"] = lambda args: args.update(machine=f"m-{args['host']}")

    chain = await bench.chain(RETIRE, "retire-cluster", cluster="c")

    one_verify = ["sequence_verify_begin", "ping", "ask", "sequence_verify_end"]
    one_remove = ["sequence_remove_begin", "drop", "sequence_remove_end"]
    assert names(chain) == [
        "request_retire-cluster_begin",
        "list-nodes",
        *one_verify * 4,
        "freeze",
        *one_remove * 4,
        "tidy-1",
        "tidy-2",
        "tidy-3",
        "tidy-4",
        "request_retire-cluster_end",
    ]
    assert [job.args for job in all_named(chain, "ask")] == [
        {"machine": f"m-n{number}", "node": f"n{number}"} for number in range(1, 5)
    ]
    freeze, listing = named(chain, "freeze").id, named(chain, "list-nodes").id
    begins, ends = (
        all_named(chain, "sequence_verify_begin"),
        all_named(chain, "sequence_verify_end"),
    )
    assert chain.next_jobs[listing] == [job.id for job in begins]
    assert all(chain.next_jobs[job.id] == [freeze] for job in ends)
    assert chain.next_jobs[named(chain, "tidy-2").id] == [
        named(chain, "tidy-3").id,
        named(chain, "tidy-4").id,
    ]
    assert named(chain, "tidy-3").args == {"cluster": "spare-1"}


async def test_retries_stay_where_they_are_written(bench: Workbench) -> None:
    bench.jobs.creates["list"] = lambda args: args.update(nodes=["n1", "n2"])
    bench.jobs.creates["ping"] = lambda args: args.update(machine="m")

    chain = await bench.chain(RETIRE, "retire-cluster", cluster="c")

    retried = {job.name: (job.retry, job.retry_wait) for job in chain.jobs.values() if job.retry}
    assert retried == {"list-nodes": (3, "10s")}
    sequences = {
        (job.name, job.sequence_retry, job.sequence_retry_wait)
        for job in chain.jobs.values()
        if job.sequence_retry
    }
    assert sequences == {("sequence_verify_begin", 3, "10s")}


async def test_parallel_is_one_window_over_all_elements_and_not_batches(bench: Workbench) -> None:
    bench.jobs.creates["list"] = lambda args: args.update(nodes=["n1", "n2", "n3", "n4"])
    bench.jobs.creates["ping"] = lambda args: args.update(machine="m")

    chain = await bench.chain(RETIRE, "retire-cluster", cluster="c")

    assert [(limit.limit, len(limit.elements)) for limit in chain.parallel_limits] == [
        (3, 4),
        (2, 4),
    ]


async def test_nothing_to_repeat_leaves_the_rest_in_order(bench: Workbench) -> None:
    bench.jobs.creates["list"] = lambda args: args.update(nodes=[])

    chain = await bench.chain(RETIRE, "retire-cluster", cluster="c")

    links = parents(chain)
    assert links["freeze"] == {"list-nodes"}
    assert links["tidy-1"] == {"freeze"}


DESTROY = """
sequences:
  destroy:
    request: true
    args:
      required: [{name: box}, {name: env}]
      static: [{name: kind, default: lxc}]
    nodes:
      prepare: {category: job, type: p, args: [{expected: box}]}
      archive:
        category: conditional
        if: env
        eq: {testing: archive, staging: noop}
        args: [{expected: box}]
        deps: [prepare]
      destroy:
        category: conditional
        if: kind
        eq: {lxc: destroy-lxc, docker: destroy-docker}
        args: [{expected: box}, {expected: kind}]
        deps: [archive]
      clean: {category: job, type: c, args: [{expected: box}], deps: [destroy]}
  archive:
    args: {required: [{name: box}]}
    nodes:
      save: {category: job, type: s, args: [{expected: box}], sets: [place]}
      note: {category: job, type: n, args: [{expected: place}], deps: [save]}
  destroy-lxc:
    args: {required: [{name: box}], optional: [{name: kind, default: ""}]}
    nodes:
      by-size:
        category: conditional
        if: kind
        eq: {lxc: archive, default: noop}
        args: [{expected: box}]
  destroy-docker:
    args: {required: [{name: box}]}
    nodes: {kill: {category: job, type: k, args: [{expected: box}]}}
"""


async def test_conditionals_one_after_another_and_one_in_another(bench: Workbench) -> None:
    bench.jobs.creates["s"] = lambda args: args.update(place="here")

    chain = await bench.chain(DESTROY, "destroy", box="b", env="staging")

    assert parents(chain) == {
        "request_destroy_begin": set(),
        "prepare": {"request_destroy_begin"},
        "conditional_archive_begin": {"prepare"},
        "noop": {"conditional_archive_begin"},
        "conditional_archive_end": {"noop"},
        "conditional_destroy_begin": {"conditional_archive_end"},
        "conditional_by-size_begin": {"conditional_destroy_begin"},
        "save": {"conditional_by-size_begin"},
        "note": {"save"},
        "conditional_by-size_end": {"note"},
        "conditional_destroy_end": {"conditional_by-size_end"},
        "clean": {"conditional_destroy_end"},
        "request_destroy_end": {"clean"},
    }
    assert named(chain, "note").args == {"place": "here"}
    inner, outer = (
        named(chain, "conditional_by-size_begin"),
        named(chain, "conditional_destroy_begin"),
    )
    assert inner.parent_sequence_id == outer.id
    assert outer.parent_sequence_id == named(chain, "request_destroy_begin").id


async def test_a_value_without_branch_and_default_builds_nothing(bench: Workbench) -> None:
    with pytest.raises(ChainNotBuilt, match="does not match any options: staging, testing"):
        await bench.expand(DESTROY, "destroy", box="b", env="production")


async def test_an_optional_if_argument_takes_the_default_branch_when_it_is_empty(
    bench: Workbench,
) -> None:
    chain = await bench.chain(
        """
        sequences:
          r:
            request: true
            args: {required: [{name: cmd}], optional: [{name: foo, default: ""}]}
            nodes:
              n:
                category: conditional
                if: foo
                eq: {yes: noop, default: other}
                args: [{expected: cmd}]
          other:
            args: {required: [{name: cmd}]}
            nodes: {run: {category: job, type: t, args: [{expected: cmd}]}}
        """,
        cmd="ls",
    )

    assert names(chain) == [
        "request_r_begin",
        "conditional_n_begin",
        "run",
        "conditional_n_end",
        "request_r_end",
    ]
    inner = named(chain, "conditional_n_begin").id
    assert [job.sequence_id == inner for job in chain.jobs.values()] == [
        False,
        True,
        True,
        True,
        False,
    ]
