"""The dictionary of schema "report": whole, and the same in the database and the documentation."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.world import build
from worker.reporting import dictionary

PAGE = Path(__file__).parents[3] / "docs" / "report-schema.md"
IDS = ("key_id", "pool_id", "assignment_id", "learner_id", "charge_id", "invoice_id", "source_id",
       "course_id", "organization_id")  # fmt: skip


def test_every_view_and_column_says_what_it_means(session: Session):
    wordless = [
        f"{c['view']}.{c['column']}" for c in dictionary.listing(session) if not c["comment"]
    ]
    wordless += [view for view, about in dictionary.views(session).items() if not about]

    assert wordless == []


def test_the_page_of_the_documentation_is_the_databases_dictionary(session: Session):
    assert PAGE.read_text(encoding="utf-8") == dictionary.markdown(session)


@pytest.mark.parametrize("name", IDS)
def test_an_id_joins_every_view_that_has_it(session: Session, name: str):
    having = [c for c in dictionary.listing(session) if c["column"] == name]

    assert {column["type"] for column in having} == {"bigint"}
    assert len(having) >= 2


def test_facts_are_joined_with_their_courses_and_learners_by_ids(session: Session):
    assignment = build(session).redeemed()

    joined = session.execute(
        text("""
        SELECT assignment_id FROM report.redemption
          JOIN report.assignment USING (assignment_id, charge_id, key_id, pool_id, course_id, learner_id)
          JOIN report.charge USING (assignment_id, charge_id, key_id, pool_id, course_id, learner_id)
          JOIN report.course USING (course_id) JOIN report.learner USING (learner_id)
          JOIN report.pool USING (pool_id) JOIN report.source USING (source_id)
         WHERE report.redemption.price = report.pool.price""")
    )

    assert [str(row.assignment_id) for row in joined] == [assignment]
