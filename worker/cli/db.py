"""`keypool db`: the database, and what schema.sql says."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TypedDict

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.system import servers

with deferred():
    from worker.database import budget, connections, logins, migrating, pooling, revisions, schema
    from worker.tenancy import resealing, web_keys


@click.group("db", cls=Group)
def command() -> None:
    """The database: make it, migrate it, check it."""


class Made(TypedDict):
    """Whether the database was made now."""

    made: bool


class Upgraded(TypedDict):
    """Which migrations were applied; with --dry-run, which are due."""

    applied: list[str]
    pending: "list[migrating.Step]"


class Checked(TypedDict):
    """Whether the database is what schema.sql says, and safe; else what differs.

    `notes` say what is to be done some time, such as removing an old secret key.
    """

    ok: bool
    differences: list[str]
    notes: list[str]


def _made(result: Made) -> Iterator[str]:
    yield "The database is made." if result["made"] else "The database was made before."


@command.command(shows=printing.sentences(_made))
def init() -> Made:
    """Apply schema.sql to an empty database; one that was restored from a dump gets the rights a dump lacks."""
    with servers():
        made = schema.init(connections.engine(connections.Login.DIRECT))
        _tell_keys()
        return {"made": made}


def _applied(result: Upgraded) -> Iterator[str]:
    for step in result["pending"]:
        how = "piece by piece, while others write" if step["in_pieces"] else "in one transaction"
        yield f"{step['revision']}  {step['does']} ({how})"
    if result["pending"]:
        oldest = result["pending"][-1]["oldest_code"]
        yield (
            "Due, and not applied. Before it is, stop processes older than revision "
            f"{oldest}; others may go on."
        )
    else:
        yield f"Applied: {', '.join(result['applied']) or 'nothing, the database is up to date'}."


@command.command(shows=printing.sentences(_applied))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
def upgrade(dry_run: bool) -> Upgraded:
    """Apply the pending migrations, one after the other; set the logins' passwords where they were changed."""
    with servers():
        engine = connections.engine(connections.Login.DIRECT)
        if dry_run:
            return {"applied": [], "pending": migrating.plan(engine)}
        applied = migrating.upgrade(engine, tell=printing.warn)
        for sentence in logins.restore():
            printing.warn(sentence)
        _tell_keys()
        return {"applied": applied, "pending": []}


def _tell_keys() -> None:
    with (
        suppress(revisions.DatabaseTooOldError, revisions.DatabaseTooNewError),
        connections.session() as session,
    ):
        revisions.require(session)
        web_keys.tell(session)


def _checked(result: Checked) -> Iterator[str]:
    yield from result["differences"] or ["The database is what schema.sql says, and safe."]
    yield from result["notes"]


@command.command(shows=printing.sentences(_checked), failed=lambda result: not result["ok"])
@click.option(
    "--webs",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="How many web processes run, on all hosts.",
)
@click.option(
    "--children",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="How many children workers have in all.",
)
def check(webs: int, children: int) -> Checked:
    """Check that the database matches schema.sql and is safe; exit code 1 if not.

    The server must also take the connections of all processes.
    """
    with servers():
        sentences = schema.check(connections.engine()) + logins.changed()
        with connections.session() as session:
            drawn_up = budget.drawn_up(session.connection(), webs=webs, children=children)
        sentences += [drawn_up.sentence()] if drawn_up.excess() else []
        notes = _notes() + ([] if drawn_up.excess() else [drawn_up.sentence()])
        return {"ok": not sentences, "differences": sentences, "notes": notes}


def _notes() -> list[str]:
    try:
        with connections.session() as session:
            revisions.require(session)
            connection = session.connection()
            rights = schema.loose_rights(connection)
            lacking = schema.lacking_keepalives(connection) + schema.lacking_timeouts(connection)
            lacking += pooling.lacking_defaults(connection)
            return rights + lacking + web_keys.notes(session) + resealing.notes(session)
    except (revisions.NotMadeError, revisions.DatabaseTooOldError):
        return []  # a table may be missing
