"""Courses: made by the operator, visible to everybody."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import EVERYBODY, allowed
from webhook.http.preconditions import versioned
from webhook.http.queries import Query, query
from webhook.http.shapes import Changes, Clearable, Taken, gives, left_out
from worker.catalogue import courses
from worker.catalogue.courses import CourseInClear, CourseShape
from worker.database.paging import Page
from worker.tables.catalogue import Course
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("courses", __name__, url_prefix="/api/v1/courses", tag="Courses")


def _found(session: Session, *, actor: Actor, course: str, lock: bool) -> Course:
    del actor  # every role may see every course
    return courses.find(session, name=course, lock=lock)


class NewCourse(Taken):
    """A new course."""

    code: str
    title: str
    price: str
    currency: str
    launch_url: str = ""


class CourseChanges(Changes):
    """Changes of a course; its list price is changed by POST /prices."""

    title: str = left_out()
    launch_url: Clearable = None
    new_launch_secret: bool = left_out()


@blueprint.get("")
@allowed(*EVERYBODY)
@gives()
@blueprint.input(query(courses.Filters), location="query", arg_name="query")
def listing(session: Session, _actor: Actor, query: Query[courses.Filters]) -> Page[CourseShape]:
    """List courses, by default by code."""
    return courses.listing(session, filters=query.filters, **query.page)


@blueprint.post("")
@allowed()
@gives(201)
@blueprint.input(NewCourse, arg_name="body")
def add(session: Session, actor: Actor, body: NewCourse) -> CourseInClear:
    """Add a course at a list price that holds from now on.

    With a launch URL, `launch_secret` is the secret that signs the links to it, given this once.
    """
    return courses.add(session, actor=actor, **body.given())


@blueprint.get("/<course>")
@allowed(*EVERYBODY)
@versioned(_found)
@gives()
def show(session: Session, _actor: Actor, course: Course) -> CourseShape:
    """Show a course."""
    return courses.show(session, course)


@blueprint.patch("/<course>")
@allowed()
@versioned(_found)
@gives()
@blueprint.input(CourseChanges, arg_name="body")
def edit(session: Session, actor: Actor, course: Course, body: CourseChanges) -> CourseInClear:
    """Change a course's title or launch URL.

    Where a secret for its launch links was made, `launch_secret` gives it this once.
    """
    return courses.edit(session, actor=actor, course=course, **body.given())


@blueprint.post("/<course>/archive")
@allowed()
@versioned(_found)
@gives()
def archive(session: Session, actor: Actor, course: Course) -> CourseShape:
    """Archive a course: its pools' keys stop working, live assignments continue."""
    return courses.archive(session, actor=actor, course=course)
