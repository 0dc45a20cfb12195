"""Pasted or uploaded tables, with a preview in which each column's meaning can be changed."""

import io
from typing import BinaryIO

from apiflask import APIBlueprint
from flask import g, request
from flask_login import current_user

from webhook.http import uploads
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.pools import pools, reading
from worker.pools.reading import Column, Purpose, Read, ReadAs
from worker.settings import settings
from worker.tenancy.actors import Role

LARGEST_PASTED = 1 << 24
IGNORED = "ignore"
ROUTES = (
    "console.add_keys",
    "console.create_pool",
    "console.distribute_table",
    "console.edit_logo",
)


def install(blueprint: APIBlueprint) -> None:
    """Allow large tables from who may send one, before anything reads the form."""
    blueprint.before_request(_allow_large)
    blueprint.teardown_request(_leave)


def table() -> BinaryIO:
    """Give the table of the request's form.

    Raises:
        InvalidInputError: there is no table, or there are two.
    """
    file, pasted = request.files.get("file"), request.form.get("pasted", "")
    chosen = file is not None and bool(file.filename)
    if chosen and pasted.strip():
        raise errors.InvalidInputError("Paste lines or choose a file, not both.", field="pasted")
    if file is not None and chosen:
        return file.stream  # type: ignore[return-value]  # werkzeug's class has the same methods
    if not pasted.strip():
        raise errors.InvalidInputError("Paste lines, or choose a file.", field="pasted")
    return io.BytesIO(pasted.encode(errors="replace"))


def lines() -> tuple[str, Read] | None:
    """Give the lines of the form's file, as they could be pasted, and what was read; None without one.

    Raises:
        InvalidInputError: lines are pasted, too; or it is no table, or longer than what can be pasted.
    """
    if not request.files.get("file"):
        return None
    opened = reading.opened(table())
    return reading.pasted(opened, most=LARGEST_PASTED), opened.read


def read_as() -> ReadAs:
    """Give the form's choices for columns; other columns are recognized by their contents."""
    said = {column: meaning for column, meaning in _said().items() if meaning}
    return ReadAs.of(
        columns=[f"{meaning}={column}" for column, meaning in said.items() if meaning != IGNORED],
        ignore=[column for column, meaning in said.items() if meaning == IGNORED],
        any_shape="any_shape" in request.form,
        labels=[request.form.get("labels", "")],
    )


def preview(stream: BinaryIO, purpose: Purpose) -> dict[str, object]:
    """Give a table's columns for a template: each with its meaning, what the form said, and the choices."""
    choices = sorted(map(str, reading.meanings(purpose)))
    return {"columns": columns(stream, purpose), "said": _said(), "choices": choices}


def columns(stream: BinaryIO, purpose: Purpose) -> list[Column]:
    """Give a table's columns; none if the input is no table."""
    try:
        read = reading.columns(stream, read_as=read_as(), purpose=purpose)
    except errors.InvalidInputError:
        return []
    return [_as_chosen(column) for column in read]


def _as_chosen(column: Column) -> Column:
    """Keep the choice for a column that is ignored."""
    meaning = column["meaning"] or (IGNORED if _said().get(column["column"]) == IGNORED else None)
    return {**column, "meaning": meaning}


def _said() -> dict[str, str]:
    """Give what the form says of each column; nothing of one whose meaning is open."""
    form = request.form
    return dict(zip(form.getlist("column"), form.getlist("meaning"), strict=False))


def _allow_large() -> None:
    if request.method != "POST" or request.endpoint not in ROUTES or not _may_send():
        return
    request.max_content_length = settings().largest_upload
    request.max_form_memory_size = LARGEST_PASTED
    if uploads.is_long():
        organization_id = current_user.signed.actor.organization_id
        uploads.places.take(organization_id)
        g.place_of = organization_id


def _may_send() -> bool:
    """Say whether the user may change what the address names: looked up before the body is read."""
    if not current_user.is_authenticated:
        return False
    actor = current_user.signed.actor
    names = request.view_args or {}
    try:
        actor.require(Role.MANAGER)
        with connections.session(Login.WEB, sees=actor.scope) as session:
            if "pool" in names:
                pools.find(session, actor=actor, pool=names["pool"])
    except (errors.ForbiddenError, errors.NotFoundError):
        return False
    return True


def _leave(_error: BaseException | None) -> None:
    if "place_of" in g:
        uploads.places.leave(g.pop("place_of"))
