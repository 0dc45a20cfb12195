"""Bulk acts: one act on many rows of a list, with each row's result."""

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import files, nudging, queries
from webhook.http.access import allowed
from webhook.http.openapi import describe
from webhook.http.queries import Choice, Query, query
from webhook.http.shapes import Taken, answer, gives
from worker import errors
from worker.bulk import bulk_acts, previewing, selecting
from worker.bulk.acting import Kind
from worker.bulk.bulk_acts import UNFINISHED, BulkActRowShape, BulkActShape
from worker.bulk.previewing import Preview
from worker.bulk.selecting import Selection
from worker.database import patience
from worker.database.paging import Page
from worker.learning import assignments
from worker.pools import keys
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("bulk_acts", __name__, url_prefix="/api/v1/bulk-acts", tag="Bulk acts")

READERS = (Role.MANAGER, Role.ANALYST)


@queries.of(assignments.Filters)
class OfAssignments(Choice[assignments.Filters]):
    """All assignments that these choose."""


@queries.of(keys.Filters)
class OfKeys(Choice[keys.Filters]):
    """All keys of a pool that these choose."""


class Selected(Taken):
    """Rows: of some ids, or all that the filters of their list choose; keys are those of a pool."""

    act: Kind = Field(description="What is done to each row.")
    ids: list[str] = Field([], max_length=selecting.MOST_NAMED)
    assignments: OfAssignments | None = None
    pool: str | None = Field(None, max_length=200, description="The pool of the keys.")
    keys: OfKeys | None = None

    @property
    def selection(self) -> Selection:
        """The rows as the domain takes them.

        Raises:
            InvalidInputError: both ids and filters are given, or neither.
        """
        filters = self.assignments if self.pool is None else self.keys
        if bool(self.ids) == (filters is not None):
            raise errors.InvalidInputError(
                "Give ids, or filters of assignments or of a pool’s keys; one of both.", field="ids"
            )
        ids = selecting.named(self.ids) if self.ids else ()
        if self.pool is not None:
            return selecting.Keys(self.pool, ids, self.keys.filters if self.keys else keys.ALL)
        chosen = self.assignments.filters if self.assignments else assignments.ALL
        return selecting.Assignments(ids, chosen)


class Asked(Selected):
    """An act on rows, and what it takes; `expected` is how many there were in the preview."""

    expected: int | None = None
    until: str | None = None
    days: int | None = None
    price: str | None = None
    retire_key: bool | None = None
    reason: str | None = Field(None, max_length=1000)
    recipient: str | None = Field(None, max_length=320)
    reference: str | None = Field(None, max_length=320)
    template: str | None = Field(None, max_length=100)
    mail: str | None = None

    def takes(self) -> dict[str, object]:
        """Give what the act takes as the domain's arguments."""
        about = {"act", "ids", "assignments", "pool", "keys", "expected"}
        given = self.given(days="by_days")
        return {name: value for name, value in given.items() if name not in about}


class Rows(Taken):
    """Which rows of an act, and which page of them."""

    refused: bool = Field(False, description="Only those that were refused.")
    cursor: str | None = Field(None, description="`next` of the page before.", max_length=2000)
    limit: int = Field(100, ge=1, le=1000, description="How many rows the page has at most.")


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(query(bulk_acts.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[bulk_acts.Filters]) -> Page[BulkActShape]:
    """List acts on many rows, newest first."""
    return bulk_acts.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201, accepted=BulkActShape)
@blueprint.input(Asked, arg_name="body")
def ask(session: Session, actor: Actor, body: Asked) -> BulkActShape | Response:
    """Do an act to many rows, each with its own result; more than 500 are the worker's."""
    patience.unhurried(session)
    act = bulk_acts.ask(
        session,
        actor=actor,
        act=body.act,
        selection=body.selection,
        fields=body.takes(),
        expected=body.expected,
    )
    nudging.after_commit("mail")
    if act["state"] not in UNFINISHED:
        return act
    nudging.after_commit("work_batches")
    return answer(act, 202, {"Location": f"/api/v1/bulk-acts/{act['id']}"})


@blueprint.post("/preview")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Selected, arg_name="body")
def preview(session: Session, actor: Actor, body: Selected) -> Preview:
    """Say what an act on many rows would do now, and what it costs; it changes nothing."""
    patience.unhurried(session)
    return previewing.preview(session, actor=actor, act=body.act, selection=body.selection)


@blueprint.get("/<act>")
@allowed(*READERS)
@gives()
def show(session: Session, actor: Actor, act: str) -> BulkActShape:
    """Show an act on many rows and its progress."""
    return bulk_acts.show(session, actor=actor, act=act)


@blueprint.get("/<act>/report")
@describe(gives=(files.CSV,))
@allowed(*READERS)
@gives()
@blueprint.input(Rows, location="query", arg_name="query")
def report(
    session: Session, actor: Actor, act: str, query: Rows
) -> Page[BulkActRowShape] | Response:
    """List the rows of an act with what became of each; with `Accept: text/csv` all of them."""
    if request.accept_mimetypes.best_match(["application/json", files.CSV]) == files.CSV:
        act_id = str(bulk_acts.find(session, actor=actor, act=act).id)
        name = f"bulk-act-{act_id}.csv"
        return files.table(name, bulk_acts.report_csv, actor=actor, act=act_id)
    return bulk_acts.rows(
        session, actor=actor, act=act, refused=query.refused, after=query.cursor, limit=query.limit
    )


@blueprint.post("/<act>/cancel")
@allowed(Role.MANAGER)
@gives()
def cancel(session: Session, actor: Actor, act: str) -> BulkActShape:
    """Cancel an act: what was done stays done."""
    return bulk_acts.cancel(session, actor=actor, act=act)
