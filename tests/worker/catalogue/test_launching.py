"""Launch links: a course's own site trusts them by the check that the documentation shows."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.world import OPERATOR
from worker import errors
from worker.catalogue import courses, launching
from worker.tables.catalogue import Course

DOCUMENT = Path(__file__).parents[3] / "docs" / "redeem.md"
COURSE: dict[str, Any] = {"code": "C", "title": "T", "price": "1", "currency": "EUR"}


@pytest.fixture(scope="module")
def assignment_of() -> Callable[[dict[str, str], str], str | None]:
    """The documentation's own check, as a site would copy it."""
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # our own documentation
    return names["assignment_of"]


def link(session, url: str, *, now: float | None = None) -> tuple[dict[str, str], str]:
    """Add a course and give the parameters of a link to it, and its secret."""
    secret = courses.add(session, actor=OPERATOR, **COURSE, launch_url=url)["launch_secret"]
    course = courses.find(session, name="C")
    at = int(now or time.time())
    made = launching.link(course.launch_url, course.launch_secret_encrypted, assignment=42, now=at)
    return dict(parse_qsl(urlsplit(made).query, keep_blank_values=True)), secret


def test_the_documented_check_gives_the_assignment_of_a_link(session, assignment_of):
    parameters, secret = link(session, "https://labs.example/start?lang=de&empty=")

    assert assignment_of(parameters, secret) == "42"
    assert (parameters["lang"], parameters["empty"]) == ("de", "")


@pytest.mark.parametrize("changed", ["assignment", "expires", "signature"])
def test_the_documented_check_refuses_a_link_that_was_changed(session, assignment_of, changed):
    parameters, secret = link(session, "https://labs.example/start")

    parameters[changed] = parameters[changed][:-1] + (
        "0" if parameters[changed][-1] != "0" else "1"
    )

    assert assignment_of(parameters, secret) is None
    assert assignment_of({}, secret) is None


def test_the_documented_check_refuses_a_link_after_an_hour(session, assignment_of):
    parameters, secret = link(session, "https://labs.example/start", now=time.time() - 3601)

    assert assignment_of(parameters, secret) is None


def test_a_new_secret_replaces_the_old_one(session, assignment_of):
    parameters, old = link(session, "https://labs.example/start")

    edited = courses.edit(session, actor=OPERATOR, course="C", new_launch_secret=True)

    assert edited["launch_secret"] != old
    assert assignment_of(parameters, edited["launch_secret"]) is None


def test_a_secret_is_given_once_and_kept_encrypted(session):
    added = courses.add(session, actor=OPERATOR, **COURSE)

    edited = courses.edit(session, actor=OPERATOR, course="C", launch_url="https://a.example/x")
    again = courses.edit(session, actor=OPERATOR, course="C", launch_url="https://b.example/x")
    emptied = courses.edit(session, actor=OPERATOR, course="C", launch_url="")

    kept = session.get_one(Course, int(added["id"])).launch_secret_encrypted
    assert edited["launch_secret"].encode() not in kept
    assert "launch_secret" not in added
    assert "launch_secret" not in again
    urls = [shown["launch_url"] for shown in (added, edited, again, emptied)]
    assert urls == [None, "https://a.example/x", "https://b.example/x", None]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "labs.example", "https://", "https://a b"])
def test_what_is_no_address_of_the_web_is_refused(session, url):
    with pytest.raises(errors.InvalidInputError, match="begins with https://") as refused:
        courses.add(session, actor=OPERATOR, **COURSE, launch_url=url)

    assert refused.value.field == "launch_url"


def test_links_of_a_course_without_a_launch_url_cannot_be_signed(session):
    courses.add(session, actor=OPERATOR, **COURSE)

    with pytest.raises(errors.InvalidInputError, match="nothing to sign"):
        courses.edit(session, actor=OPERATOR, course="C", new_launch_secret=True)
