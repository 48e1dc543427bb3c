from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spincycle.database.queries import Query, load_queries, parse_queries

TEXT = """
-- A preface that belongs to no query.

-- name: first
-- Says what it is for.
SELECT :two::bigint, :one, :two FROM t WHERE x::text = :one;

-- name:second
SELECT 1
"""


def test_a_file_contains_queries_by_name() -> None:
    assert [query.name for query in parse_queries(TEXT)] == ["first", "second"]


def test_each_parameter_gets_one_number_in_order_of_appearance() -> None:
    first, second = parse_queries(TEXT)

    assert first.parameters == ("two", "one")
    assert "SELECT $1::bigint, $2, $1 FROM t WHERE x::text = $2" in first.sql
    assert second.parameters == ()


def test_a_query_keeps_its_comment_and_loses_its_semicolon() -> None:
    first, second = parse_queries(TEXT)

    assert first.sql.startswith("-- Says what it is for.\nSELECT")
    assert not first.sql.endswith(";")
    assert second.sql == "SELECT 1"


def test_casts_and_assignments_are_not_parameters() -> None:
    (query,) = parse_queries("-- name: q\nSELECT a::int, b[1:2], f(x := 3), :real\n")

    assert query.parameters == ("real",)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ':no' || :yes",
        'SELECT ":no", :yes',
        "SELECT 1 -- not :no\n, :yes",
        "-- Of what is :no longer there.\nSELECT :yes",
    ],
)
def test_parameters_in_strings_and_comments_are_ignored(sql: str) -> None:
    (query,) = parse_queries(f"-- name: q\n{sql}\n")

    assert query.parameters == ("yes",)


def test_values_are_bound_by_name_in_the_order_of_the_parameters() -> None:
    query = Query("q", "SELECT $1, $2", ("b", "a"))

    assert query.bind({"a": 1, "b": 2}) == [2, 1]


@pytest.mark.parametrize("given", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_a_missing_or_unknown_value_is_an_error_with_the_parameters(
    given: dict[str, object],
) -> None:
    with pytest.raises(TypeError, match="query q takes b, a; given: "):
        Query("q", "SELECT $1, $2", ("b", "a")).bind(given)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    queries = tmp_path / "some_service" / "queries"
    queries.mkdir(parents=True)
    (tmp_path / "some_service" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_service", raising=False)
    return queries


def test_all_files_of_a_package_are_read(package: Path) -> None:
    (package / "a.sql").write_text("-- name: one\nSELECT 1;\n")
    (package / "b.sql").write_text("-- name: two\nSELECT 2;\n")
    (package / "notes.txt").write_text("-- name: three\nSELECT 3;\n")

    assert sorted(load_queries("some_service")) == ["one", "two"]


def test_a_duplicate_name_is_an_error(package: Path) -> None:
    (package / "a.sql").write_text("-- name: one\nSELECT 1;\n")
    (package / "b.sql").write_text("-- name: one\nSELECT 2;\n")

    with pytest.raises(ValueError, match=r"b\.sql: query one is defined twice"):
        load_queries("some_service")


@pytest.mark.parametrize("service", ["spincycle.job_log", "spincycle.request_manager"])
def test_every_query_is_documented(service: str) -> None:
    silent = [
        query.name for query in load_queries(service).values() if not query.sql.startswith("-- ")
    ]

    assert silent == []
