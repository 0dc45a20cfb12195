"""`keypool demo`: the main job from end to end, on a scratch system."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import rich_click as click

from worker.cli import printing, progress
from worker.cli.frame import WHOLE, Command, deferred, wants_json
from worker.cli.system import quieten

with deferred():
    from worker import demo

if TYPE_CHECKING:
    from worker.demo import DemoResult

# Results that are not outcomes of events.
MEANINGS = {
    "repeated": "the same message again (done once)",
    "401": "a wrong signature (refused)",
    "409": "an id reused with another body (refused)",
    "422": "an unknown type of message (refused)",
}


class Outcome(TypedDict):
    """How many webhooks came to the same."""

    what_happened: str
    webhooks: int


class Demo(TypedDict):
    """What a demo came to."""

    ok: bool
    outcomes: dict[str, int]
    unexpected: dict[str, str]
    figures: dict[str, int]
    per_second: dict[str, int]
    broken: list[str]
    files: dict[str, str]
    seconds: float


OUTCOMES = printing.table(lambda: Outcome)


def _show(done: Demo) -> None:
    rows: list[Outcome] = [
        {"what_happened": MEANINGS.get(outcome, outcome), "webhooks": count}
        for outcome, count in done["outcomes"].items()
    ]
    printing.line("")
    OUTCOMES(rows)
    printing.line("", *(f"{count:>9,}  {name}" for name, count in done["figures"].items()))
    printing.line(
        "", *(f"{rate:>9,}  {name} per second" for name, rate in done["per_second"].items())
    )
    printing.line("", *(f"{name:<24}{path}" for name, path in done["files"].items()))
    printing.line("", _verdict(done))


def _verdict(done: Demo) -> str:
    if done["unexpected"]:
        return f"Not as expected: {printing.text(done['unexpected'])}."
    if done["broken"]:
        return f"The ledger does not hold: {printing.text(done['broken'])}."
    return f"Every result is as expected, and the ledger holds ({done['seconds']} s)."


@click.command("demo", cls=Command, shows=_show, failed=lambda done: not done["ok"])
@click.option("--keys", type=WHOLE, default=10_000, show_default=True, help="How many keys.")
@click.option(
    "--redemptions", type=WHOLE, default=2_000, show_default=True, help="How many signed webhooks."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("keypool-demo"),
    show_default=True,
    help="The folder for the report, the keys and the invoices.",
)
def command(keys: int, redemptions: int, output: Path) -> Demo:
    """Run the main job from end to end on a scratch system, and say what happened.

    Servers, worker, scheduler and web are the real ones. Nothing is left afterwards, not even after
    Ctrl-C. The exit code is 1 if any result differs from what was expected.
    """
    quieten()
    begun = time.monotonic()
    result = demo.run(
        keys_wanted=keys,
        redemptions=redemptions,
        folder=output,
        bar=progress.bar,
        tell=_speaker(begun),
    )
    return _result(result, round(time.monotonic() - begun, 1))


def _speaker(begun: float) -> Callable[[str], None]:
    def tell(sentence: str) -> None:
        line = f"{time.monotonic() - begun:5.1f} s  {sentence}"
        if wants_json():
            printing.warn(line)
        else:
            printing.line(line)

    return tell


def _result(result: "DemoResult", seconds: float) -> Demo:
    differing = result.expected.keys() | result.happened.keys()
    return {
        "ok": result.ok,
        "outcomes": dict(result.happened.most_common()),
        "unexpected": {
            outcome: f"{result.happened[outcome]} instead of {result.expected[outcome]}"
            for outcome in sorted(differing)
            if result.happened[outcome] != result.expected[outcome]
        },
        "figures": result.figures,
        "per_second": result.per_second,
        "broken": [check["name"] for check in result.checks if not check["ok"]],
        "files": {name: str(path) for name, path in result.files.items()},
        "seconds": seconds,
    }
