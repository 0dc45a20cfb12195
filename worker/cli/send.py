"""`keypool send`: posts signed events, as an external system does."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import rich_click as click

from worker.cli import printing, progress
from worker.cli.frame import Command, deferred, wants_json

with deferred():
    from worker import client

if TYPE_CHECKING:
    from worker.client import Answer, Message


class Sent(TypedDict):
    """What became of events: how many were taken and refused; each answer, if asked for as JSON."""

    items: "list[Answer]"
    next: None
    taken: int
    refused: int


@click.command("send", cls=Command, shows=lambda _: None, failed=lambda done: done["refused"] > 0)
@click.argument("url", metavar="SOURCE-URL")
@click.argument("type_", metavar="[TYPE", required=False)
@click.argument("words", metavar="KEY=VALUE…]", nargs=-1)
@click.option("--secret", required=True, metavar="whsec_…", help="The source's signing secret.")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="EVENTS.ndjson",
    help="One event a line: type, data, and optionally timestamp and id.",
)
@click.option(
    "--wait",
    type=click.IntRange(0, 10),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How long the receiver may take to answer with the outcome.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="How many events of a file are under way; above 1, their order is not kept.",
)
def command(
    url: str,
    type_: str | None,
    words: tuple[str, ...],
    secret: str,
    file: Path | None,
    wait: int,
    at_once: int,
) -> Sent:
    """Sign events, post them and print the answers: for integrators.

    One event is given by its type and data, such as redemption.requested key=K7QM-…
    learner.email=ann@example.org. While the receiver is unreachable, it retries for 30 seconds. The
    exit code is 1 if an event was not taken.
    """
    if (type_ is None) == (file is None):
        raise click.UsageError("Give either an event's type and data, or --file.")
    with client.Sender(url, secret) as sender:
        if file:
            total = sum(1 for _ in client.from_file(file))  # all lines are read before one is sent
            messages: Iterable[Message] = client.from_file(file)
        else:
            total, messages = 1, [client.from_words(type_ or "", words)]
        answers = client.send_all(sender, messages, wait=wait, at_once=at_once)
        return _told(answers, total)


def _told(answers: "Iterator[Answer]", total: int) -> Sent:
    """Print each answer as it comes, or keep them all for JSON."""
    figures = Counter[str]()
    items: list[Answer] = []
    for answer in progress.over(answers, total, "Sending") if total > 1 else answers:
        figures["taken" if answer.taken else "refused"] += 1
        if wants_json():
            items.append(answer)
        else:
            printing.line(_line(answer))
    if total > 1 and not wants_json():
        printing.line(
            f"{printing.counted(figures['taken'], 'event')} taken, {figures['refused']:,} refused."
        )
    return {"items": items, "next": None, "taken": figures["taken"], "refused": figures["refused"]}


def _line(answer: "Answer") -> str:
    body = answer.answer
    if answer.decided:
        words = f"event {body['id']} {body['outcome']}: {body['message']}"
    elif answer.taken:
        words = f"event {body['event']} {body['status']}"
    else:
        words = str(body.get("detail") or body.get("title") or "")
    return f"{answer.status}  {answer.type}  {answer.webhook_id}  {words}"
