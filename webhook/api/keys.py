"""Keys: adding, generating, listing, exporting and retiring them."""

from typing import BinaryIO

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field, RootModel
from sqlalchemy.orm import Session

from webhook.api.tables import Reading
from webhook.http import files, nudging, problems, queries
from webhook.http.access import allowed, known
from webhook.http.openapi import describe
from webhook.http.queries import Query
from webhook.http.shapes import Taken, answer, gives
from webhook.http.uploads import TABLES, uploaded
from worker import errors
from worker.database import patience
from worker.database.paging import Page
from worker.pools import batches, exporting, keys, pools, replacing, retiring
from worker.pools.batches import BatchShape
from worker.pools.import_reports import ImportReport
from worker.pools.keys import KeyShape
from worker.pools.replacing import Replacement
from worker.pools.retiring import RetiredKeys
from worker.redemption import trouble
from worker.redemption.trouble import KeyShown
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("keys", __name__, url_prefix="/api/v1", tag="Keys")

READERS = (Role.MANAGER, Role.ANALYST)
CSV = "text/csv"


@queries.of(keys.Filters)
class KeyQuery(Query[keys.Filters]):
    """Which of a pool's keys, and in which format."""

    format: exporting.Format | None = Field(
        None, description="Export them all: as CSV, as CSV for Excel, or as a workbook."
    )
    labels: bool = Field(False, description="Export each key's labels, too, in a last column.")


class DryRun(Taken):
    """The learner of a dry run: what would happen, without redeeming the key."""

    learner: str | None = Field(None, alias="as", description="An e-mail address.", max_length=320)
    organization: str | None = Field(None, description="The learner's.", max_length=200)


class Replacing(Taken):
    """Why a key is replaced, and the recipient if the old key had none."""

    reason: str = Field(min_length=1, max_length=1000)
    recipient: str | None = Field(None, max_length=320)


class Codes(Taken):
    """Keys, by code."""

    codes: list[str] = Field(min_length=1, max_length=10_000)


class Generation(Taken):
    """How many keys to generate, with which labels."""

    generate: int
    labels: list[str] = Field([], description="Labels of the keys: a few words each.")


class NewKeys(RootModel[list[str]]):
    """Codes to add."""


@blueprint.get("/pools/<pool>/keys")
@describe(gives=(CSV, exporting.WORKBOOK))
@allowed(*READERS)
@gives()
@blueprint.input(KeyQuery, location="query", arg_name="query")
def listing(
    session: Session, actor: Actor, pool: str, query: KeyQuery
) -> Page[KeyShape] | Response:
    """List a pool's keys; with `format`, or `Accept: text/csv`, export all, from one snapshot."""
    kind = query.format or _accepted_format()
    if kind is None:
        return keys.listing(session, actor=actor, pool=pool, filters=query.filters, **query.page)
    return files.keys(
        session,
        actor=actor,
        pool=pool,
        filters=query.filters,
        labels=query.labels,
        format=kind,
    )


@blueprint.post("/pools/<pool>/keys")
@describe(takes=TABLES)
@known(Role.MANAGER, finds=pools.find)
@uploaded
@allowed(Role.MANAGER)
@gives(201, accepted=BatchShape | ImportReport)
@blueprint.input(Reading, location="query", arg_name="query")
def add(
    session: Session, actor: Actor, pool: str, upload: BinaryIO | None, query: Reading
) -> ImportReport | Response:
    """Add keys: a JSON list of codes, a text or table of codes, or `{"generate": 1000}`."""
    patience.unhurried(session)
    read_as, dry_run = query.read_as(), query.dry_run
    if upload is not None:
        report = keys.import_keys(
            session, actor=actor, pool=pool, stream=upload, read_as=read_as, dry_run=dry_run
        )
        return _reported(report)
    document = request.get_json(force=True)
    if isinstance(document, list):
        codes = problems.checked(NewKeys, document).root
        report = keys.add_keys(
            session, actor=actor, pool=pool, codes=codes, read_as=read_as, dry_run=dry_run
        )
        return _reported(report)
    if isinstance(document, dict) and "codes" in document:
        raise errors.InvalidInputError(
            'Send the list of codes itself, and not an object with it: ["…", "…"].', field="codes"
        )
    made = problems.checked(Generation, document)
    labels = [*read_as.labels, *made.labels]
    return _queued(
        batches.generate(session, actor=actor, pool=pool, count=made.generate, labels=labels)
    )


@blueprint.get("/keys/<code>")
@allowed(*READERS)
@gives()
@blueprint.input(DryRun, location="query", arg_name="query")
def show(session: Session, actor: Actor, code: str, query: DryRun) -> KeyShown:
    """Show a key with its attempts and, with `as`, what would happen if that learner redeemed it."""
    fields = query.given(learner="dry_run")
    return trouble.show(session, actor=actor, code=code, **fields)


@blueprint.post("/keys/retire")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Codes, arg_name="body")
def retire(session: Session, actor: Actor, body: Codes) -> RetiredKeys:
    """Retire issued keys; each code has its own result."""
    patience.unhurried(session)
    return retiring.retire(session, actor=actor, codes=body.codes)


@blueprint.post("/keys/<code>/replace")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Replacing, arg_name="body")
def replace(session: Session, actor: Actor, code: str, body: Replacing) -> Replacement:
    """Retire an issued key, and give its recipient another key of the pool."""
    return replacing.replace(session, actor=actor, code=code, **body.given())


def _accepted_format() -> exporting.Format | None:
    formats = {CSV: exporting.Format.CSV, exporting.WORKBOOK: exporting.Format.XLSX}
    best = request.accept_mimetypes.best_match(["application/json", *formats])
    return formats.get(best or "")


def _reported(report: ImportReport) -> ImportReport | Response:
    return _accepted(report, report["batch"]) if report["batch"] else report


def _queued(batch: BatchShape) -> Response:
    return _accepted(batch, batch["id"])


def _accepted(result: BatchShape | ImportReport, batch: str) -> Response:
    nudging.after_commit("work_batches")
    return answer(result, 202, {"Location": f"/api/v1/batches/{batch}"})
