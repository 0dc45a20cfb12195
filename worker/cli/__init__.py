"""The command line: `keypool`, one module per group, each command one call of the domain.

A module of this package has the `command` that is called by the module's name. The domain is
imported when a command first needs it, so that help is fast.
"""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module

import rich_click as click

from worker.cli import frame
from worker.errors import KeypoolError, interruption

__all__ = ["answer", "main"]

# In the order of help.
PANELS = {
    "Run": ["up", "demo", "simulate", "db", "secrets", "completion"],
    "Set up": [
        "organizations",
        "courses",
        "prices",
        "seller",
        "sources",
        "tokens",
        "users",
        "sessions",
        "endpoints",
    ],
    "Hand out": ["pools", "keys", "batches"],
    "Follow": [
        "events",
        "redemptions",
        "send",
        "assignments",
        "bulk-acts",
        "learners",
        "messages",
        "templates",
        "reminders",
        "history",
    ],
    "Account": ["invoices", "reports", "lake", "audit"],
}
COMMANDS = [name for names in PANELS.values() for name in names]

INTERRUPTED = 130
NOT_DONE = 2


class Keypool(click.RichGroup):
    """The root command; its groups are modules of this package."""

    format_epilog = frame.exemplify

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of all groups and single commands."""
        return COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        loaded: click.Command = import_module(f"worker.cli.{module}").command
        return loaded


@click.group(cls=Keypool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keypool", message="%(prog)s %(version)s")
def keypool() -> None:
    """Training keys: pools of them, one redemption each, and what that costs.

    Without settings, every command works on the system under KEYPOOL_HOME (by default .keypool
    in this folder) and starts its database where it is not up. Every command takes --json.
    """


for title, names in PANELS.items():
    keypool.add_panel(click.RichCommandPanel(title, commands=names))


def main() -> None:
    """Run the command line and end the process with its exit code."""
    code = answer(sys.argv[1:])
    gc.freeze()  # nor does the end go through what imports made
    sys.exit(code)


def answer(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code: 0 done, 1 a job failed, 2 refused, 130 interrupted.

    An error that people can correct is printed as one sentence on standard error.
    """
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    try:
        return int(keypool.main(arguments, prog_name="keypool", standalone_mode=False) or 0)
    except Exception as error:
        if signal := interruption(error):
            raise signal from None
        return _told(error)


def _told(error: Exception) -> int:
    """Print an error that people can correct; raise any other again."""
    match error:
        case click.UsageError():
            return _refuse(frame.usage(error))
        case click.ClickException():
            return _refuse(error.format_message())
        case KeypoolError():
            return _refuse(frame.sentence(error))
        case BrokenPipeError():
            return frame.hush()
        case OSError(strerror=str(reason)):
            return _refuse(f"{error.filename}: {reason}." if error.filename else f"{reason}.")
        case UnicodeEncodeError():
            return _refuse("A word of the command is not in UTF-8; write it so.")
        case UnicodeDecodeError():
            return _refuse("A text that the command reads is not in UTF-8; save it so.")
    raise error


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return NOT_DONE
