"""What `make scale` compares, and what it says where it cannot run."""

from decimal import Decimal

import pyarrow as pa
import pytest

from tests.scale import cluster
from tests.scale.comparing import difference

ORDERED = "SELECT course, sum(amount) AS owed FROM report.charge GROUP BY course ORDER BY course"
UNORDERED = "SELECT course, sum(amount) AS owed FROM report.charge GROUP BY course"


def rows(*owed: object) -> pa.Table:
    return pa.table({"course": ["a", "b"], "owed": list(owed)})


def test_equal_figures_do_not_differ():
    assert (
        difference(ORDERED, rows(Decimal("1.10"), Decimal(2)), rows(Decimal("1.1"), Decimal(2)))
        == ""
    )


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (None, "Spark has no answer"),
        (rows(Decimal("1.10"), Decimal("2.01")), "('b', Decimal('2.00')), ('b', Decimal('2.01'))"),
        (rows(Decimal("1.10"), None), "('b', Decimal('2.00')), ('b', None)"),
        (rows(Decimal("1.10"), Decimal("2.00")).slice(0, 1), "rows: 2, 1"),
        (rows(Decimal("1.10"), Decimal("2.00")).rename_columns(["course", "due"]), "columns: "),
        (rows(Decimal("1.10"), Decimal("2.00")).take([1, 0]), "('a', "),
    ],
)  # fmt: skip
def test_a_figure_that_differs_is_told(theirs, told):
    ours = rows(Decimal("1.10"), Decimal("2.00"))

    assert difference(ORDERED, ours, theirs).startswith(told)


def test_rows_count_in_their_order_only_if_the_query_asks_for_one():
    ours = rows(1, 2)

    assert difference(UNORDERED, ours, ours.take([1, 0])) == ""


@pytest.mark.parametrize(
    ("printed", "refused"), [('openjdk version "17.0.15"', False), ('java version "1.8.0"', True)]
)
def test_java_is_looked_for_and_its_version(printed, refused, tmp_path, monkeypatch):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{printed}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert cluster.refusal() == (cluster.MISSING if refused else None)


def test_without_java_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert cluster.refusal() == cluster.MISSING
    assert "Java 17" in cluster.MISSING
