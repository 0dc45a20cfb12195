"""`keypool completion`: has a shell complete commands, flags and names."""

from typing import TypedDict

import rich_click as click
from click import get_current_context
from click.shell_completion import get_completion_class

from worker.cli import printing
from worker.cli.frame import Command


class Completion(TypedDict):
    """How a shell is told."""

    shell: str
    """Which shell."""
    script: str
    """What it reads."""


@click.command(
    "completion",
    cls=Command,
    shows=printing.sentences(lambda made: made["script"].splitlines()),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> Completion:
    """Print the script with which a shell completes commands, flags and names.

    Names of pools, courses and organizations are completed while keypool is up.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"Nothing is known of “{shell}”.")
    root = get_current_context().find_root().command
    return {"shell": shell, "script": kind(root, {}, "keypool", "_KEYPOOL_COMPLETE").source()}
