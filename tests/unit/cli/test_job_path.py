from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.cli.render.job_path import job_title, shorten_path
from spincycle.cli.render.text import cell_width
from spincycle.v1 import status_pb2

DEEP = "region eu-west / prepare-the-rack / upgrade db05.example.com / configure / verify"


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (100, DEEP),
        (70, "region eu-west / .. / upgrade db05.example.com / .. / verify"),
        (50, "..eu-west / ..db05.example.com / verify"),
        (30, "..db05.example.com / verify"),
        (20, "..db05..com / verify"),
    ],
)
def test_a_path_loses_its_middle_before_its_host_and_its_last_part(width: int, shown: str) -> None:
    assert shorten_path(DEEP, width) == shown


@pytest.mark.parametrize(
    ("path", "width", "shown"),
    [
        ("first / second / third / last", 22, "first / .. / last"),
        ("first / second / third / last", 12, ".. / last"),
        ("first / second / third / last", 4, "last"),
        ("a-name-without-path", 10, "a-na..path"),
        ("upgrade h05 / ping 10.0.0.1", 18, "..h05 / ping...0.1"),
        ("upgrade h05 / ping 10.0.0.1", 6, "pi...1"),
    ],
)
def test_short_columns_show_the_ends_of_a_path(path: str, width: int, shown: str) -> None:
    assert shorten_path(path, width) == shown


PARTS = st.text(st.sampled_from("ab 東"), min_size=1, max_size=9)


@given(st.lists(PARTS, min_size=1, max_size=5).map(" / ".join), st.integers(2, 60))
def test_a_shortened_path_fits(path: str, width: int) -> None:
    shorter = shorten_path(path, width)

    assert cell_width(shorter) <= width
    assert shorter == path or cell_width(path) > width


def test_a_job_without_a_path_has_its_name_as_title() -> None:
    assert job_title(status_pb2.JobStatus(name="old")) == "old"
    assert job_title(status_pb2.JobStatus(name="a", path="x\n1 / a")) == "x 1 / a"
