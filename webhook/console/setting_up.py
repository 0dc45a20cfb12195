"""Organizations, courses, prices, tokens and users, for those who may set them up."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import EVERYBODY, READERS, page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker import courses, errors, organizations, prices, tokens, users
from worker.actors import Actor, Role


@blueprint.get("/organizations", endpoint="organizations")
@page(*EVERYBODY)
def organizations_page(session: Session, actor: Actor) -> Any:
    """List organizations."""
    listed = organizations.listing(session, actor=actor)
    return render_template("organizations.html", listed=listed)


@blueprint.post("/organizations")
@page()
def add_organization(session: Session, actor: Actor) -> Any:
    """Add an organization."""
    given = _given("name", "parent", "time_zone", "currency", "tax_rate")
    made = organizations.add(session, actor=actor, **given)
    return done(f"“{made['name']}” is there.", "organizations")


@blueprint.get("/courses", endpoint="courses")
@page(*READERS)
def courses_page(session: Session, _actor: Actor) -> Any:
    """List courses, or find some."""
    listed = courses.listing(session, search=request.args.get("search") or None)
    return render_template("courses.html", listed=listed[:200], more=len(listed) > 200)


@blueprint.post("/courses")
@page()
def add_course(session: Session, actor: Actor) -> Any:
    """Add a course with its list price."""
    given = {name: request.form.get(name, "") for name in ("code", "title", "price", "currency")}
    made = courses.add(session, actor=actor, **given)
    return done(f"The course {made['code']} is there.", "courses")


@blueprint.post("/courses/<course>/archive")
@page()
def archive_course(session: Session, actor: Actor, course: str) -> Any:
    """Archive a course: its pools' keys stop."""
    courses.archive(session, actor=actor, course=course)
    return done("The course is archived; live assignments go on.", "courses")


@blueprint.get("/prices", endpoint="prices")
@page(Role.FINANCE, Role.ANALYST)
def prices_page(session: Session, actor: Actor) -> Any:
    """List prices, history included."""
    given = {"after": request.args.get("after"), "course": request.args.get("course") or None}
    listed = prices.listing(session, actor=actor, **given, limit=50)
    return render_template("prices.html", listed=listed)


@blueprint.post("/prices")
@page()
def set_price(session: Session, actor: Actor) -> Any:
    """Set a course's price from a day on."""
    given = {"course": "", "price": ""} | _given("course", "organization", "price", "currency")
    prices.set_price(session, actor=actor, from_=request.form.get("from") or None, **given)
    return done("The price is set.", "prices")


@blueprint.get("/tokens", endpoint="tokens")
@page(Role.MANAGER)
def tokens_page(session: Session, actor: Actor) -> Any:
    """List tokens; never the tokens themselves."""
    return _tokens(session, actor)


@blueprint.post("/tokens")
@page(Role.MANAGER)
def add_token(session: Session, actor: Actor) -> Any:
    """Make a token, and show it this once."""
    given: dict[str, Any] = {"organization": request.form.get("organization") or None}
    made = tokens.add(
        session, actor=actor, name=request.form.get("name", ""), role=_role(), **given
    )
    return _tokens(session, actor, made)


@blueprint.post("/tokens/<token>/revoke")
@page(Role.MANAGER)
def revoke_token(session: Session, actor: Actor, token: str) -> Any:
    """Revoke a token at once."""
    tokens.revoke(session, actor=actor, token=token)
    return done("The token is revoked.", "tokens")


@blueprint.get("/users", endpoint="users")
@page(Role.MANAGER)
def users_page(session: Session, actor: Actor) -> Any:
    """List the people who sign in."""
    owners = organizations.listing(session, actor=actor)
    listed = users.listing(session, actor=actor)
    return render_template("users.html", listed=listed, owners=owners)


@blueprint.post("/users")
@page(Role.MANAGER)
def add_user(session: Session, actor: Actor) -> Any:
    """Let somebody sign in."""
    given = {name: request.form.get(name, "") for name in ("email", "password")}
    organization = request.form.get("organization") or None
    users.add(session, actor=actor, organization=organization, role=_role(), **given)
    return done("They can sign in now.", "users")


@blueprint.post("/users/<user>/password")
@page(Role.MANAGER)
def renew_password(session: Session, actor: Actor, user: str) -> Any:
    """Give a user a new password, which ends their sessions."""
    password = request.form.get("password", "")
    users.set_password(session, actor=actor, user=user, password=password)
    return done("The password is new; every session of theirs is over.", "users")


@blueprint.post("/users/<user>/disable")
@page(Role.MANAGER)
def disable_user(session: Session, actor: Actor, user: str) -> Any:
    """Let a user in no more."""
    users.disable(session, actor=actor, user=user)
    return done("They can sign in no more.", "users")


def _tokens(session: Session, actor: Actor, made: dict[str, Any] | None = None) -> Any:
    listed = tokens.listing(session, actor=actor)
    owners = organizations.listing(session, actor=actor)
    return render_template("tokens.html", listed=listed, owners=owners, made=made)


def _given(*names: str) -> dict[str, str]:
    """Give the fields that were filled in."""
    return {name: value for name in names if (value := request.form.get(name, "").strip())}


def _role() -> Role:
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        raise errors.InvalidInputError("Choose a role.", field="role") from None
