"""What stands behind each figure of a page."""

import re
from datetime import timedelta

import pandas as pd
import pytest

from tests.conftest import Addresses
from worker import errors, reporting, simulation
from worker.database import connections as databases

# What the notebooks' cells show.
CALLED = sorted(
    {
        name
        for notebook in reporting.NOTEBOOKS.glob("*.py")
        for name in re.findall(r"^reporting\.(\w+)\(question\)", notebook.read_text(), re.MULTILINE)
    }
)


@pytest.fixture(scope="module")
def asked(database: Addresses) -> reporting.Question:
    databases.transaction(simulation.simulate, organizations=3, months=2, redemptions=60, seed=3)
    last = reporting.ask(organization="Alder Academy").last
    return reporting.ask(organization="Alder Academy", from_=last - timedelta(days=40), to=last)


@pytest.mark.parametrize("name", CALLED)
def test_each_figure_of_a_page_has_a_definition_and_queries_that_run(asked, name):
    explained = reporting.explain(name)

    assert explained.definition
    assert explained.queries
    for query in explained.queries:
        reporting.frame(query)
    assert all(each["comment"] for each in explained.columns)
    assert f"report.{explained.columns[0]['view']}" in str(explained)


def test_an_analyst_goes_on_from_the_query_to_the_same_figures(asked):
    explained = reporting.explain(reporting.redemption_totals)

    again = reporting.frame(explained.queries[0])

    pd.testing.assert_frame_equal(again, reporting.redemption_totals(asked))
    assert {(c["view"], c["column"]) for c in explained.columns} >= {
        ("redemption", "answer"),
        ("redemption", "day"),
        ("family", "member"),
    }
    assert "Alder Academy" in explained._repr_html_()


def test_a_frame_is_explained_by_its_own_query(asked):
    explained = reporting.explain(reporting.frame("SELECT answer FROM report.redemption"))

    assert explained.queries == ["SELECT answer FROM report.redemption"]
    assert [each["column"] for each in explained.columns] == ["answer"]


@pytest.mark.parametrize("figure", ["os", "NOTEBOOKS", pd.DataFrame()])
def test_what_is_no_figure_is_refused(asked, figure):
    with pytest.raises(errors.InvalidInputError, match="name"):
        reporting.explain(figure)
