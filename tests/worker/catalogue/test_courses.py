"""Lists of courses: by code, a page at a time, found by words."""

import pytest
from sqlalchemy import text

from tests.plans import most_rows
from worker import errors
from worker.catalogue import courses

MANY = """
    INSERT INTO course (code, title)
    SELECT 'C-' || lpad(n::text, 5, '0'),
           'Part ' || n || ' of administering ' || (ARRAY['Linux', 'networks'])[mod(n, 2) + 1]
      FROM generate_series(1, 20000) AS n;
    INSERT INTO price (course_id, amount, currency, valid_from)
    SELECT id, 10, 'EUR', '1970-01-01' FROM course;
"""


@pytest.fixture
def many(session):
    session.connection().exec_driver_sql(MANY)
    session.connection().exec_driver_sql("ANALYZE course, price")
    return session


def test_a_page_of_twenty_thousand_courses_reads_that_page_alone(many):
    read = most_rows(many, lambda: courses.listing(many, limit=50))

    assert read <= 60


def test_a_later_page_reads_that_page_alone(many):
    first = courses.listing(many, limit=50)

    read = most_rows(many, lambda: courses.listing(many, after=first.next, limit=50))
    second = courses.listing(many, after=first.next, limit=50)

    assert read <= 60
    assert [one["code"] for one in second.items][::49] == ["C-00051", "C-00100"]
    assert second.items[0]["price"] == "10.00"


def test_courses_are_found_by_words_in_any_order(many):
    found = courses.listing(many, filters=courses.Filters("linux 19998 PART"))

    assert [one["code"] for one in found.items] == ["C-19998"]


def test_courses_are_in_the_order_of_their_codes_whatever_their_case(session):
    session.execute(
        text("INSERT INTO course (code, title) VALUES ('b', 'B'), ('A', 'A'), ('C', 'C')")
    )

    ordered = [one["code"] for one in courses.listing(session).items]
    turned = [one["code"] for one in courses.listing(session, sort="-code", limit=2).items]

    assert ordered == ["A", "b", "C"]
    assert turned == ["C", "b"]


def test_a_cursor_of_another_order_is_refused(many):
    by_code = courses.listing(many, limit=1).next

    with pytest.raises(errors.InvalidInputError, match="sorted so"):
        courses.listing(many, sort="made", after=by_code)
