"""Which of a command's flags and arguments an error is about: the one that carried the bad value."""

from collections.abc import Iterator, Sequence
from typing import Any

import rich_click as click
from click.core import ParameterSource

from worker.errors import InvalidInputError, KeypoolError, NotFoundError, RefusedError

# Flags whose field the API and the database call otherwise.
SAID_SHORTER = {
    "after": "cursor",
    "content_availability": "content_availability_day",
    "expire": "expires_at",
    "start": "starts_at",
    "by": "until",
}


def blamed(error: KeypoolError, ctx: click.Context) -> str | None:
    """Give the flag or argument as usage errors call it; None if the error is about none of them.

    It is the one that the error names, or whose value stands in its sentence; else the file that was read,
    or, where a rule says no, what the command is about.
    """
    carrying = [
        one for one in ctx.command.get_params(ctx) if _quoted(ctx.params.get(one.name), str(error))
    ]
    called = _called(error.field, ctx)
    candidates = (
        [one for one in called if one in carrying],
        called,
        carrying if len(carrying) == 1 else [],
        _called(error.thing if isinstance(error, NotFoundError) else None, ctx),
        carrying,
        _inputs(ctx) if isinstance(error, InvalidInputError) and not error.field else [],
        _subject(ctx) if isinstance(error, NotFoundError | RefusedError) else [],
    )
    found = next((several for several in candidates if several), None)
    return label(found[0], ctx) if found else None


def label(parameter: click.Parameter, ctx: click.Context) -> str:
    """Call an option by its longest flag, and an argument as the usage line does, without its dots."""
    if isinstance(parameter, click.Argument):
        return parameter.make_metavar(ctx).strip("[].…")
    return max(parameter.opts, key=len)


def _called(name: str | None, ctx: click.Context) -> list[click.Parameter]:
    """Give those of a name, first what was given, and options: an argument says what the command is about."""
    if not name:
        return []
    called = [one for one in ctx.command.get_params(ctx) if _plain(name) in _names(one, ctx)]
    called.sort(key=lambda one: (not _is_given(one, ctx), isinstance(one, click.Argument)))
    if _files(ctx):  # what the command line does not say is in the file
        return [one for one in called if _is_given(one, ctx)]
    return called


def _is_given(parameter: click.Parameter, ctx: click.Context) -> bool:
    return ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE


def _names(parameter: click.Parameter, ctx: click.Context) -> Iterator[str]:
    for name in (label(parameter, ctx), parameter.name or ""):
        yield _plain(name)
        yield SAID_SHORTER.get(_plain(name), "")


def _plain(name: str) -> str:
    return name.strip("-_").replace("-", "_").lower().removesuffix("s")


def _quoted(value: Any, sentence: str) -> bool:
    several = value if isinstance(value, tuple | list) else (value,)
    return any(isinstance(one, str) and one and f"“{one}”" in sentence for one in several)


def _files(ctx: click.Context) -> Sequence[click.Parameter]:
    return [
        one for one in ctx.command.get_params(ctx)
        if isinstance(one.type, click.File) and ctx.params.get(one.name or "")
    ]  # fmt: skip


def _inputs(ctx: click.Context) -> Sequence[click.Parameter]:
    """Give what a command reads lines from: its file, else the argument that takes several."""
    several = (one for one in ctx.command.get_params(ctx) if one.nargs == -1)
    return _files(ctx) or list(several)


def _subject(ctx: click.Context) -> Sequence[click.Parameter]:
    """Give the only argument of a command that has one."""
    arguments = [one for one in ctx.command.get_params(ctx) if isinstance(one, click.Argument)]
    return arguments if len(arguments) == 1 else []
