from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.graph.shapes import all_named, named, names, parents

from spincycle.model.job_chain import NOOP, BackoffPolicy, ParallelLimit

if TYPE_CHECKING:
    from tests.unit.graph.conftest import Workbench

    from spincycle.model.job_chain import Value

NAP = """
sequences:
  nap:
    request: true
    args:
      required: [{name: ms}]
    nodes:
      rest:
        category: job
        type: sleep
        args: [{expected: duration, given: ms}]
        retry: 1
"""


async def test_a_request_is_its_jobs_between_one_begin_and_one_end(bench: Workbench) -> None:
    chain = await bench.chain(NAP, "nap", ms="1200")

    assert parents(chain) == {
        "request_nap_begin": set(),
        "rest": {"request_nap_begin"},
        "request_nap_end": {"rest"},
    }
    begin = named(chain, "request_nap_begin")
    assert (begin.type, begin.structural, begin.args) == (NOOP, True, None)
    assert (begin.sequence_id, begin.sequence_retry_wait) == (begin.id, "0s")
    assert begin.parent_sequence_id == ""
    rest = named(chain, "rest")
    assert (rest.type, rest.args) == ("sleep", {"duration": "1200"})
    assert (rest.retry, rest.retry_wait, rest.sequence_id) == (1, "0s", begin.id)
    assert not rest.structural
    assert [job.type for job in bench.jobs.made] == ["sleep"]


SEQUENCES = """
sequences:
  r:
    request: true
    args:
      optional: [{name: size, default: 1.50}]
    nodes:
      first: {category: job, type: a}
      part:
        category: sequence
        type: s
        args: [{expected: size}]
        deps: [first]
        retry: 2
        retryWait: 3s
        backoff: {factor: 2, max: 1m, jitter: 0.1}
        timeout: 5m
      last: {category: job, type: b, deps: [part, first]}
  s:
    timeout: 1h
    args:
      required: [{name: size}]
      optional: [{name: colour, default: yes}]
      static: [{name: kind, default: 0x10}]
    nodes:
      work:
        category: job
        type: c
        args: [{expected: size}, {expected: colour}, {expected: k, given: kind}]
"""


async def test_a_sequence_node_is_its_jobs_between_a_begin_with_the_retries_and_an_end(
    bench: Workbench,
) -> None:
    chain = await bench.chain(SEQUENCES)

    assert parents(chain) == {
        "request_r_begin": set(),
        "first": {"request_r_begin"},
        "sequence_part_begin": {"first"},
        "work": {"sequence_part_begin"},
        "sequence_part_end": {"work"},
        "last": {"first", "sequence_part_end"},
        "request_r_end": {"last"},
    }
    begin = named(chain, "sequence_part_begin")
    assert (begin.sequence_retry, begin.sequence_retry_wait) == (2, "3s")
    assert begin.backoff == BackoffPolicy(2.0, 60.0, 0.1)
    assert begin.sequence_timeout == 300
    assert begin.parent_sequence_id == named(chain, "request_r_begin").id
    assert {job.name for job in chain.jobs.values() if job.sequence_id == begin.id} == {
        "sequence_part_begin",
        "work",
        "sequence_part_end",
    }
    for job in chain.jobs.values():
        if job is not begin:
            assert (job.sequence_retry, job.retry) == (0, 0)


async def test_scalars_reach_jobs_as_their_literal_text(bench: Workbench) -> None:
    chain = await bench.chain(SEQUENCES)

    assert named(chain, "work").args == {"size": "1.50", "colour": "yes", "k": "0x10"}


EACH = """
sequences:
  r:
    request: true
    args:
      required: [{name: hosts}, {name: ports}]
    nodes:
      before: {category: job, type: a}
      visit:
        category: job
        type: v
        each: ["hosts:host", "ports:port"]
        args: [{expected: all, given: hosts}]
        deps: [before]
        parallel: 2
      after: {category: job, type: b, deps: [visit]}
"""


async def test_each_iterates_over_its_lists_in_step_without_additional_jobs(
    bench: Workbench,
) -> None:
    chain = await bench.chain(EACH, hosts=["x", "y", "z"], ports=[1, 2, 3])

    visits = all_named(chain, "visit")
    assert names(chain) == [
        "request_r_begin",
        "before",
        "visit",
        "visit",
        "visit",
        "after",
        "request_r_end",
    ]
    assert [job.args for job in visits] == [
        {"all": ["x", "y", "z"], "host": host, "port": port}
        for host, port in [("x", 1), ("y", 2), ("z", 3)]
    ]
    assert chain.next_jobs[named(chain, "before").id] == [job.id for job in visits]
    after = named(chain, "after").id
    assert all(chain.next_jobs[job.id] == [after] for job in visits)
    assert chain.parallel_limits == [ParallelLimit(2, tuple((job.id, job.id) for job in visits))]


async def test_an_empty_each_disappears(bench: Workbench) -> None:
    chain = await bench.chain(EACH, hosts=[], ports=[])

    assert parents(chain) == {
        "request_r_begin": set(),
        "before": {"request_r_begin"},
        "after": {"before"},
        "request_r_end": {"after"},
    }
    assert chain.parallel_limits == []


async def test_a_limit_without_effect_is_omitted(bench: Workbench) -> None:
    chain = await bench.chain(EACH, hosts=["x", "y"], ports=["1", "2"])

    assert chain.parallel_limits == []


CONDITIONAL = """
sequences:
  r:
    request: true
    args:
      required: [{name: kind}, {name: host}]
    nodes:
      a: {category: job, type: a}
      b: {category: job, type: b, deps: [a]}
      c:
        category: conditional
        if: kind
        eq: {yes: s, 1: t, default: noop}
        args: [{expected: host}]
        deps: [a]
        retry: 4
        retryWait: 1s
      d: {category: job, type: d, deps: [b, c, a]}
  s:
    args:
      required: [{name: host}]
    nodes:
      k: {category: job, type: k, args: [{expected: host}]}
  t:
    nodes:
      l: {category: job, type: l}
"""


async def test_a_conditional_runs_the_sequence_of_the_matching_value(bench: Workbench) -> None:
    chain = await bench.chain(CONDITIONAL, kind="yes", host="x")

    assert parents(chain) == {
        "request_r_begin": set(),
        "a": {"request_r_begin"},
        "b": {"a"},
        "conditional_c_begin": {"a"},
        "k": {"conditional_c_begin"},
        "conditional_c_end": {"k"},
        "d": {"a", "b", "conditional_c_end"},
        "request_r_end": {"d"},
    }
    begin = named(chain, "conditional_c_begin")
    assert (begin.sequence_retry, begin.sequence_retry_wait) == (4, "1s")
    assert named(chain, "k").args == {"host": "x"}


async def test_a_number_chooses_the_branch_of_its_text(bench: Workbench) -> None:
    chain = await bench.chain(CONDITIONAL, kind=1, host="x")

    assert "l" in names(chain)


async def test_a_conditional_without_a_match_takes_the_default_and_noop_is_built_in(
    bench: Workbench,
) -> None:
    chain = await bench.chain(CONDITIONAL, kind="other", host="x")

    assert named(chain, "noop").type == NOOP
    assert not named(chain, "noop").structural


SETS = """
sequences:
  r:
    request: true
    nodes:
      find:
        category: job
        type: find
        sets: [{arg: hosts, as: all}]
      each-host:
        category: sequence
        type: s
        each: ["all:host"]
        sets:
          - {arg: address, as: last}
          - {arg: address, as: addresses, collect: true}
        deps: [find]
      report:
        category: job
        type: report
        args: [{expected: last}, {expected: addresses}]
        deps: [each-host]
  s:
    args:
      required: [{name: host}]
    nodes:
      look-up:
        category: job
        type: look-up
        args: [{expected: host}]
        sets: [address]
"""


async def test_sets_returns_the_value_of_the_last_element_or_of_all(
    bench: Workbench,
) -> None:
    bench.jobs.creates["find"] = lambda args: args.update(hosts=["x", "y"])
    bench.jobs.creates["look-up"] = lambda args: args.update(address=f"{args['host']}.net")

    chain = await bench.chain(SETS)

    assert named(chain, "report").args == {"last": "y.net", "addresses": ["x.net", "y.net"]}
    assert named(chain, "find").args is None


async def test_a_node_reads_what_its_ancestors_set_regardless_of_the_order_of_creation(
    bench: Workbench,
) -> None:
    values: list[Value] = []
    bench.jobs.creates["one"] = lambda args: args.update(x="one")
    bench.jobs.creates["two"] = lambda args: args.update(x="two")
    bench.jobs.creates["use"] = lambda args: values.append(args["x"])

    await bench.expand("""
    sequences:
      r:
        request: true
        nodes:
          a-one: {category: job, type: one, sets: [x]}
          b-two: {category: job, type: two, sets: [x]}
          c-use: {category: job, type: use, args: [{expected: x}], deps: [a-one]}
          d-use: {category: job, type: use, args: [{expected: x}], deps: [b-two]}
    """)

    assert values == ["one", "two"]
