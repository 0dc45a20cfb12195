"""What all commands have in common: `--json`, printing, exit codes, and deferred imports."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import Any, cast

import rich_click as click
from click import Context, HelpFormatter, get_current_context

from worker.cli import completing, examples, flags, printing
from worker.cli.printing import Shows
from worker.errors import DatabaseAwayError, KeypoolError

WANTS_JSON = "keypool.json"
NOT_ASKED = "keypool.no_input"
DIGITS = re.compile("-?[0-9]{1,18}")


def exemplify(_: click.Command, ctx: Context, formatter: HelpFormatter) -> None:
    """Print a command's or a group's examples below its help; it is their `format_epilog`."""
    from rich.text import Text

    told = cast(click.RichHelpFormatter, formatter)
    path = ctx.command_path.partition(" ")[2]
    told.write(Text(" Examples", style="bold"))
    for example in examples.lines(path, told.console.width):
        told.write(Text(example, no_wrap=True, overflow="ignore"))
    told.write("")


class Command(click.RichCommand):
    """A command that returns an object, printed for people or with `--json` as one document.

    `shows` prints the object for people. `failed` says whether the job failed (exit code 1), or gives
    another exit code. A command that prints by itself returns None.
    """

    format_epilog = exemplify

    def __init__(
        self,
        *args: Any,
        shows: Shows = printing.record,
        failed: Callable[[Any], int] = lambda _: False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.shows, self.failed = shows, failed
        completing.name(self.params)
        as_json = click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document.")
        asks = any(isinstance(one, click.Option) and one.prompt for one in self.params)
        self.params += [NO_INPUT, as_json] if asks else [as_json]

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, print its result, and give the exit code."""
        as_json = ctx.meta[WANTS_JSON] = ctx.params.pop("as_json")
        try:
            result = super().invoke(ctx)
        except KeypoolError as error:
            _name_the_flag(error, ctx)
            if as_json:
                printing.document({"error": error.code, "message": sentence(error)})
            raise
        if result is not None:
            (printing.document if as_json else self.shows)(result)
        return int(self.failed(result))


class Asked(click.Option):
    """An option that is asked for where it is not given, but not with --no-input."""

    def prompt_for_value(self, ctx: Context) -> Any:
        """Ask for it, or raise a usage error if nobody may be asked."""
        if ctx.meta.get(NOT_ASKED):
            said = f"Give {self.opts[0]}, or set {self.envvar}: with --no-input nobody is asked."
            raise click.UsageError(said, ctx)
        return super().prompt_for_value(ctx)


def _not_asked(ctx: Context, _: click.Parameter, given: bool) -> None:
    ctx.meta[NOT_ASKED] = given


NO_INPUT = click.Option(
    ["--no-input"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_not_asked,
    help="Ask for nothing: fail, and say what to give.",
)


class Whole(click.ParamType[int]):
    """A whole number in ASCII digits; Python would accept more."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or raise a usage error."""
        if not DIGITS.fullmatch(str(value)):
            self.fail(f"“{value}” is not a whole number; write digits alone.", param, ctx)
        return int(value)


WHOLE = Whole()


class Group(click.RichGroup):
    """A group of such commands."""

    command_class = Command
    format_epilog = exemplify


def wants_json() -> bool:
    """Say whether the running command must print JSON and nothing else."""
    return bool(get_current_context().meta[WANTS_JSON])


def sentence(error: KeypoolError) -> str:
    """Give the sentence for an error, with advice that the error itself cannot have."""
    if isinstance(error, DatabaseAwayError) and "KEYPOOL_DATABASE_URL" in os.environ:
        return f"{str(error).rstrip('.')}, or check KEYPOOL_DATABASE_URL."
    return str(error)


def _name_the_flag(error: KeypoolError, ctx: Context) -> None:
    """Put the flag or argument that an error is about before its sentence, if that does not name it."""
    named = flags.blamed(error, ctx)
    if named and named not in str(error):
        error.args = (f"{named}: {error}",)


def usage(error: click.UsageError) -> str:
    """Give one line for a usage error, and where to read more."""
    where = error.ctx.command_path if error.ctx else "keypool"
    return f"{error.format_message()} Try “{where} --help”."


def hush() -> int:
    """Replace a standard output that was closed (SIGPIPE), and give its exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@contextmanager
def deferred() -> Iterator[None]:
    """Defer the imports of the worker's modules in the block until they are used.

    Importing SQLAlchemy takes longer than help may take.
    """
    finder = _Deferring()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Deferring:
    @staticmethod
    def find_spec(name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name.startswith("worker.") else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec
