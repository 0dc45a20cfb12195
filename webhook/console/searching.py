"""Search everywhere: what a visitor may open, by pieces of its name; keys by their whole code."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from flask import render_template, request
from flask import url_for as url
from sqlalchemy.orm import Session

from webhook.console import words
from webhook.console.access import page
from webhook.console.frame import blueprint
from webhook.http.access import EVERYBODY
from worker import errors
from worker.billing import invoices
from worker.catalogue import courses
from worker.learning import matching
from worker.pools import keys, pools
from worker.tenancy import organizations
from worker.tenancy.actors import Actor

MOST = 5  # of each kind
LONGEST, SHORTEST = 320, 2  # characters: of one character nearly everything has some

# What one can do, the route that does it, whose roles may, and the page that it is done on.
ACTS = (
    ("Create a training key pool", "new_pool", "new_pool"),
    ("Find out why a key does not work", "trouble", "trouble"),
    ("Give another key", "replace_key", "trouble"),
    ("Extend access", "extend_by_key", "trouble"),
    ("Run a report", "run_report", "reports"),
    ("Finalize an invoice", "finalize_invoice", "invoices"),
    ("Record a payment", "pay_invoice", "invoices"),
    ("Export history as CSV", "history", "history"),
    ("Add a source", "add_source", "sources"),
    ("Register an endpoint", "add_endpoint", "endpoints"),
    ("Send a mail again", "resend_message", "messages"),
    ("Make a token", "add_token", "tokens"),
    ("Invite a user", "invite_user", "users"),
    ("Add an organization", "add_organization", "organizations"),
    ("Add a course", "add_course", "courses"),
    ("Set a price", "set_price", "prices"),
    ("Change my password", "account", "account"),
)


class Found(NamedTuple):
    """Something that fits: its name, what else is said of it, and its page."""

    name: str
    about: str
    address: str


@dataclass(frozen=True)
class Kind:
    """A kind of thing: who may see it can open this page."""

    title: str
    page: str
    find: Callable[[Session, Actor, str], Iterable[Found]]


@blueprint.get("/search")
@page(*EVERYBODY)
def search(session: Session, actor: Actor) -> str:
    """Show what fits the words; to htmx, the list alone."""
    asked = " ".join(request.args.get("q", "").split())[:LONGEST]
    groups = list(_groups(session, actor, asked)) if len(asked) >= SHORTEST else []
    template = "found.html" if "HX-Request" in request.headers else "search.html"
    return render_template(template, asked=asked, groups=groups, shortest=SHORTEST)


def _groups(session: Session, actor: Actor, asked: str) -> Iterator[tuple[str, list[Found]]]:
    for kind in KINDS:
        if words.may(kind.page) and (found := list(kind.find(session, actor, asked))):
            yield kind.title, found


def _pages(_session: Session, _actor: Actor, asked: str) -> Iterator[Found]:
    for title, entries in words.menu():
        for address, _, label in entries:
            if _fits(asked, f"{title} {label}"):
                yield Found(label, title, address)


def _acts(_session: Session, _actor: Actor, asked: str) -> Iterator[Found]:
    for name, act, where in ACTS:
        if words.may(act) and words.may(where) and _fits(asked, name):
            yield Found(name, "", url(f"console.{where}"))


def _pools(session: Session, actor: Actor, asked: str) -> Iterator[Found]:
    filters = pools.Filters(search=asked)
    for it in pools.listing(session, actor=actor, filters=filters, sort="-made", limit=MOST).items:
        about = f"{it['organization']} · {it['course']} · {it['state']}"
        yield Found(it["name"], about, url("console.pool", pool=it["id"]))


def _courses(session: Session, _actor: Actor, asked: str) -> Iterator[Found]:
    for it in courses.listing(session, filters=courses.Filters(search=asked), limit=MOST).items:
        yield Found(it["code"], it["title"], url("console.course", course=it["id"]))


def _learners(session: Session, actor: Actor, asked: str) -> Iterator[Found]:
    for it in matching.matching(session, actor=actor, search=asked, limit=MOST):
        yield Found(it["email"], it["name"], url("console.learner", email=it["email"]))


def _keys(session: Session, actor: Actor, asked: str) -> Iterator[Found]:
    """Find the key of a code: another organization's is as one that there is not."""
    try:
        key = keys.find(session, actor=actor, code=asked)
    except (errors.NotFoundError, errors.InvalidInputError):
        return
    yield Found(key.code, words.words(key.state), url("console.trouble", q=key.code))


def _invoices(session: Session, actor: Actor, asked: str) -> Iterator[Found]:
    if not any(one.isdigit() for one in asked):
        return
    for number, owner in invoices.numbered(session, actor=actor, piece=asked, limit=MOST):
        yield Found(number, owner, url("console.invoice", invoice=number))


def _organizations(session: Session, actor: Actor, asked: str) -> list[Found]:
    filters = organizations.Filters(search=asked)
    fit = organizations.listing(session, actor=actor, filters=filters, limit=MOST).items
    where = "organization" if words.may("organization") else "organizations"
    return [
        Found(it["name"], it["parent"] or "", url(f"console.{where}", organization=it["id"]))
        for it in fit
    ]


def _fits(asked: str, name: str) -> bool:
    """Say whether each word is in a name, in any letter case."""
    return all(word in name.lower() for word in asked.lower().split())


KINDS = (
    Kind("Keys", "trouble", _keys),
    Kind("Pools", "pools", _pools),
    Kind("Courses", "courses", _courses),
    Kind("Learners", "learner", _learners),
    Kind("Invoices", "invoices", _invoices),
    Kind("Organizations", "organizations", _organizations),
    Kind("Pages", "home", _pages),
    Kind("Acts", "home", _acts),
)
