"""Create Training Key Pool: the whole pool, with its keys, in one form."""

import io
from dataclasses import dataclass, field
from typing import Any

from flask import render_template, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from webhook.console import forms, tables
from webhook.console.access import page
from webhook.console.answers import NotSavedError, attempt, done
from webhook.console.choosing import chosen
from webhook.console.forms import Form, whole
from webhook.console.frame import blueprint
from webhook.console.words import number
from webhook.http import nudging
from worker import days, errors
from worker.catalogue import courses
from worker.database import patience
from worker.pools import batches, import_reports, keys, pools
from worker.pools.import_reports import ImportReport
from worker.pools.pools import PoolShape
from worker.pools.reading import Read, ReadAs
from worker.tables.catalogue import Course
from worker.tables.tenancy import OrganizationAncestry
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

CHOICES = 20  # courses shown in the chooser
FIELDS = ("name", "organization", "course", "starts", "expires", "content_availability")


@dataclass
class Draft:
    """The input so far; `read` tells of its file, and `report` is the dry run of its keys, typed ones first."""

    values: dict[str, str]
    share: bool = False
    codes: list[str] = field(default_factory=list)
    pasted: str = ""
    generate: str = ""
    labels: str = ""
    read: Read | None = None
    report: ImportReport | None = None
    typed_refused: int = 0
    error: errors.KeypoolError | None = None

    @property
    def form(self) -> Form:
        """Give the draft as a form, with the error under its field's name."""
        wrong = forms.wrong_field(self.error, str(self.error)) if self.error else {}
        typed = {**self.values, "generate": self.generate, "labels": self.labels}
        return Form(typed=typed, wrong=wrong)

    @property
    def pasted_words(self) -> str:
        """Say how many lines are pasted."""
        count = len(self.pasted.strip().splitlines())
        return f"{number(count)} line{'s are' if count > 1 else ' is'} pasted." if count else ""

    @property
    def generate_words(self) -> str:
        """Say how many keys will be generated, once that is a number."""
        try:
            return f"{number(whole(self.generate, field='generate'))} will be generated."
        except errors.InvalidInputError:
            return ""


def read(form: MultiDict[str, str]) -> Draft:
    """Read a form, as it was typed."""
    return Draft(
        values={name: form.get(name, "") for name in FIELDS},
        share="share" in form,
        codes=form.getlist("key"),
        pasted=form.get("pasted", ""),
        generate=form.get("generate", "").strip(),
        labels=form.get("labels", ""),
    )


@blueprint.get("/pools/new")
@page(Role.MANAGER)
def new_pool(session: Session, actor: Actor) -> Any:
    """Show the empty form."""
    draft = Draft(dict.fromkeys(FIELDS, "") | {"content_availability": "180"}, codes=[""])
    return _form(session, actor, draft)


@blueprint.post("/pools/new")
@page(Role.MANAGER, on="new_pool")
def create_pool(session: Session, actor: Actor) -> Any:
    """Create the pool with its keys; or only add a field, read a file, or check the keys without saving."""
    draft, button = read(request.form), request.form.get("do", "save")
    draft.error = attempt(session, lambda: _take_file(draft))
    if button == "field":
        draft.codes.append("")
    if draft.error or button in ("field", "lines"):
        return _form(session, actor, draft)
    made: list[PoolShape] = []
    draft.error = attempt(session, lambda: made.append(_save(session, actor, draft, button)))
    if not made:
        return _form(session, actor, draft)
    return done(_told(draft, made[0]), "pool", pool=made[0]["id"])


@blueprint.get("/pools/new/words")
@page(Role.MANAGER)
def pool_words(session: Session, actor: Actor) -> Any:
    """Say in words what the form's window and sharing mean, while it is filled in."""
    draft = read(request.args)
    return render_template("pool_words.html", **_about(session, actor, draft))


@blueprint.get("/courses/choose")
@page(Role.MANAGER)
def choose_course(session: Session, _actor: Actor) -> Any:
    """Find courses by a part of their code or title; archived ones cannot be chosen."""
    listed = courses.listing(session, filters=chosen(courses.Filters), limit=CHOICES)
    return render_template("course_choices.html", listed=listed)


def _take_file(draft: Draft) -> None:
    """Take the lines of a file for those that are pasted: no browser sends a chosen file twice."""
    if found := tables.lines():
        draft.pasted, draft.read = found


def _save(session: Session, actor: Actor, draft: Draft, button: str) -> PoolShape:
    """Create a draft's pool and keys; rolled back, with an empty result, if this is only a check."""
    pool = _create(session, actor, draft)
    patience.unhurried(session)
    draft.report = _add(session, actor, pool["id"], draft)
    if draft.generate:
        count = whole(draft.generate, field="generate")
        batches.generate(session, actor=actor, pool=pool["id"], count=count, labels=[draft.labels])
    refused = draft.report is not None and bool(draft.report["refused"])
    if button == "check" or (refused and "anyway" not in request.form):
        raise NotSavedError
    nudging.after_commit("work_batches")
    return pool


def _add(session: Session, actor: Actor, pool: str, draft: Draft) -> ImportReport | None:
    """Add typed and pasted keys; gives the report on both."""
    report = None
    into: dict[str, Any] = {
        "actor": actor,
        "pool": pool,
        "read_as": ReadAs.of(labels=[draft.labels]),
    }
    if any(map(str.strip, draft.codes)):
        report = keys.add_keys(session, codes=draft.codes, **into)
        draft.typed_refused = len(report["refused"])
    if draft.pasted.strip():
        pasted = io.BytesIO(draft.pasted.encode(errors="replace"))
        more = keys.import_keys(session, stream=pasted, **into)
        report = import_reports.together(report, more) if report else more
    return report


def _create(session: Session, actor: Actor, draft: Draft) -> PoolShape:
    fields: dict[str, Any] = {**draft.values, "share_with_children": draft.share}
    for name in FIELDS:
        if not fields[name].strip():
            raise errors.InvalidInputError("Fill this in.", field=name)
    availability = whole(fields.pop("content_availability"), field="content_availability")
    return pools.create(session, actor=actor, **fields, content_availability=availability)


def _told(draft: Draft, made: PoolShape) -> str:
    sentence = f"The pool “{made['name']}” is there"
    if draft.report and not draft.report["batch"]:
        sentence += f", with {number(draft.report['added'])} keys"
    if draft.generate or (draft.report and draft.report["batch"]):
        sentence += "; the worker is making its keys"
    return sentence + "."


def _form(session: Session, actor: Actor, draft: Draft) -> Any:
    owners = organizations.in_sight(session, actor=actor)
    if not draft.values["organization"] and owners:
        own = [o for o in owners if o["id"] == str(actor.organization_id)] or owners
        draft.values["organization"] = own[0]["name"]
    about = _about(session, actor, draft)
    unknown = isinstance(draft.error, errors.NotFoundError)
    status = 404 if unknown else 422 if draft.error else 200
    page = render_template("new_pool.html", draft=draft, owners=owners, **about)
    return page, status


def _about(session: Session, actor: Actor, draft: Draft) -> dict[str, object]:
    named, course = draft.values["organization"], _course(session, draft.values["course"])
    try:
        owner = organizations.find(session, actor=actor, name=named)
    except errors.NotFoundError:
        return {"course": course, "owner": None, "children": 0, "until": None}
    below = select(func.count()).where(
        OrganizationAncestry.ancestor_id == owner.id, OrganizationAncestry.distance > 0
    )
    return {
        "course": course,
        "owner": owner,
        "children": session.scalar(below),
        "until": _until(draft.values["expires"], owner.time_zone),
    }


def _course(session: Session, code: str) -> Course | None:
    try:
        return courses.find(session, name=code)
    except errors.NotFoundError:
        return None


def _until(day: str, zone: str) -> str | None:
    try:
        return days.end_in_words(days.instant(day, zone=zone, field="expires", end=True), zone)
    except errors.InvalidInputError:
        return None
