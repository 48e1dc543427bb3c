from __future__ import annotations

from tests.cli_samples import ChainMaker

from spincycle.cli.transport.rest_chain import completed


def test_fields_missing_in_rest_are_derived_from_edges_and_names() -> None:
    maker = ChainMaker("x")
    for name, around in (("S001", "Rq00"), ("S002", "Rq00"), ("S003", "S002")):
        maker.sequence(name, f"node-{name}", around)
        end = maker.job(f"E{name[1:]}", f"sequence_node-{name}_end", name)
        maker.chain.jobs[-1].type = "noop"
        maker.chain.jobs[-1].structural = True
        assert end
    maker.job("Jwrk", "work", "S001")
    maker.edge("Rq00", "S001", "Jwrk", "E001", "S002", "S003", "E003", "E002")
    whole = maker.made()
    incomplete = type(whole)()
    incomplete.CopyFrom(whole)
    del incomplete.jobs[:]
    for job in sorted(whole.jobs, key=lambda job: job.id):
        incomplete.jobs.add().CopyFrom(job)
        incomplete.jobs[-1].structural = False
        incomplete.jobs[-1].parent_sequence_id = ""

    jobs = {job.id: job for job in completed(incomplete).jobs}

    assert list(jobs) == ["Rq00", "S001", "Jwrk", "E001", "S002", "S003", "E003", "E002"]
    assert {job.id for job in jobs.values() if not job.structural} == {"Jwrk"}
    assert {key: jobs[key].parent_sequence_id for key in ("Rq00", "S001", "S002", "S003")} == {
        "Rq00": "",
        "S001": "Rq00",
        "S002": "Rq00",
        "S003": "S002",
    }
