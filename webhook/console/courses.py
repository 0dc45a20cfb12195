"""Courses and their prices."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import READERS, page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from worker.catalogue import courses, prices
from worker.catalogue.courses import CourseShape
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role


@blueprint.get("/courses", endpoint="courses")
@page(*READERS)
def courses_page(session: Session, _actor: Actor) -> Any:
    """List courses, or find some."""
    listed = courses.listing(session, filters=chosen(courses.Filters), **place())
    return render_template("courses.html", listed=listed, filtered=courses.Filters)


@blueprint.post("/courses")
@page(on="courses")
def add_course(session: Session, actor: Actor) -> Any:
    """Add a course with its list price."""
    fields = {name: request.form.get(name, "") for name in ("code", "title", "price", "currency")}
    made = courses.add(session, actor=actor, **fields)
    return done(f"The course {made['code']} is there.", "courses")


@blueprint.get("/courses/<course>")
@page(*READERS)
def course(session: Session, _actor: Actor, course: str) -> Any:
    """Show a course."""
    return _course(courses.show(session, courses.find(session, name=course)))


@blueprint.post("/courses/<course>")
@page(on="course")
def edit_course(session: Session, actor: Actor, course: str) -> Any:
    """Change a course's title or launch URL, and show the secret of its links where one was made."""
    edited = courses.edit(
        session,
        actor=actor,
        course=course,
        title=request.form.get("title", ""),
        launch_url=request.form.get("launch_url"),
        new_launch_secret="new_launch_secret" in request.form,
    )
    if "launch_secret" in edited:
        return _course(edited)
    return done("The course is changed.", "course", course=course)


@blueprint.post("/courses/<course>/archive")
@page(on="course")
def archive_course(session: Session, actor: Actor, course: str) -> Any:
    """Archive a course: its pools' keys stop working."""
    courses.archive(session, actor=actor, course=course)
    return done("The course is archived; live assignments go on.", "course", course=course)


@blueprint.get("/prices", endpoint="prices")
@page(Role.FINANCE, Role.ANALYST)
def prices_page(session: Session, actor: Actor) -> Any:
    """List prices, past ones included: a course's, an organization's, or all."""
    listed = prices.listing(session, actor=actor, filters=chosen(prices.Filters), **place())
    owners = [owner["name"] for owner in organizations.in_sight(session, actor=actor)]
    return render_template("prices.html", listed=listed, owners=owners, filtered=prices.Filters)


@blueprint.post("/prices")
@page(on="prices")
def set_price(session: Session, actor: Actor) -> Any:
    """Set the price of a course's redemptions, for an organization or for all, from a day on."""
    fields = {"course": "", "price": ""} | forms.filled(
        "course", "organization", "price", "currency"
    )
    price = prices.set_price(session, actor=actor, from_=request.form.get("from") or None, **fields)
    whose = price["organization"] or "everybody without a price of their own"
    words = f"{price['course']} costs {price['price']} {price['currency']} for {whose}."
    return done(words, "prices", course=price["course"])


@blueprint.post("/prices/<price>/withdraw")
@page(on="prices")
def withdraw_price(session: Session, actor: Actor, price: str) -> Any:
    """End an organization's price on a day, or now."""
    withdrawn = prices.withdraw(
        session, actor=actor, price=price, from_=request.form.get("from") or None
    )
    words = f"{withdrawn['course']} is sold to {withdrawn['organization']} at that price no longer."
    return done(words, "prices", course=withdrawn["course"])


def _course(shown: CourseShape) -> Any:
    return render_template("course.html", it=shown)
