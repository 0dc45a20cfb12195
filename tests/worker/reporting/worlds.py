"""`python -m tests.worker.reporting.worlds FOLDER`: every notebook in each world, as page, PDF and pictures.

The worlds are those that a page must look well in: large, empty, one day, one redemption, Japanese, Arabic,
eight currencies. Each notebook is run in this process, as its kernel would, without a kernel's start.
"""

import argparse
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import nbformat
import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as tests_world
from worker import reporting, simulation
from worker.database import connections
from worker.database.connections import clock_now
from worker.demo import scratch
from worker.reporting import printing, rendering
from worker.simulation import world as drawn
from worker.simulation.seasons import DAY, Seasons

NAMES = sorted(path.stem for path in reporting.NOTEBOOKS.glob("*.ipynb"))
PIXELS = "70"  # an inch of a printed page
JAPANESE = (
    "東京プログラミング研修センター株式会社",
    "大阪支店・法人向けクラウド基盤エンジニア育成プログラム運営事務局",
    "入門から学ぶコンテナオーケストレーションとクラウドネイティブ開発",
    "二〇二六年度 秋期受講者用プール",
)
ARABIC = (
    "أكاديمية الرياض للتدريب التقني",
    "فرع جدة لبرامج تأهيل المهندسين وإعداد الكوادر الوطنية",
    "أساسيات الحوسبة السحابية وإدارة الحاويات للمبتدئين",
    "دفعة الخريف ٢٠٢٦",
)
CURRENCIES: dict[str, int | Decimal] = {
    "EUR": 1,
    "USD": 1,
    "GBP": 1,
    "JPY": 160,
    "KWD": Decimal("0.3"),
    "CHF": 1,
    "INR": 90,
    "IDR": 16000,
}


@dataclass(frozen=True)
class Asked:
    """What the notebooks of a world are asked."""

    organization: str | None
    from_: date | None = None
    to: date | None = None


def build(names: set[str]) -> dict[str, Asked]:
    """Make the worlds of some names, all without, in the settings' database; gives what each is asked."""
    commit = connections.transaction
    today = commit(clock_now).date()
    month, day = today.replace(day=1) - timedelta(days=1), today - timedelta(days=10)
    asked = {
        "large": Asked(None),
        "month": Asked("Alder Academy", month.replace(day=1), month),
        "day": Asked("Alder Academy", day, day),
        "empty": Asked("Stranger Lone"),
        "one": Asked("Parent Lone"),
        "japanese": Asked(JAPANESE[0]),
        "arabic": Asked(ARABIC[0]),
        "currencies": Asked("Globe Skills"),
    }
    commit(simulation.simulate, organizations=14, months=30, redemptions=30_000, seed=3)
    commit(_named, JAPANESE, "ja")
    commit(_named, ARABIC, "ar")
    commit(_priced)
    simulation.bill(reports=False)
    commit(lambda session: tests_world.build(session, name="Lone").redeemed())
    return {name: one for name, one in asked.items() if not names or name in names}


def _named(session: Session, names: tuple[str, ...], locale: str) -> None:
    """Add a parent and its branch, with courses and pools of such names."""
    home, branch, course, pool = names

    def draw(rng: np.random.Generator, seasons: Seasons) -> drawn.World:
        taken = set(session.execute(text("SELECT lower(name) FROM organization")).scalars())
        codes = set(session.execute(text("SELECT lower(code) FROM course")).scalars())
        made = drawn.draw(rng, seasons, organizations=2, names_taken=taken, codes_taken=codes)
        made.organizations = [
            replace(one, name=name)
            for one, name in zip(made.organizations, (home, branch), strict=True)
        ]
        made.courses = [(code, f"{course} {n}") for n, (code, _) in enumerate(made.courses, 1)]
        made.pools = [replace(one, name=f"{pool} {n}") for n, one in enumerate(made.pools, 1)]
        return made

    simulation.relive(session, draw, months=14, redemptions=4_000, seed=4)
    session.execute(
        text("UPDATE organization SET locale = :locale WHERE name IN (:home, :branch)"),
        {"locale": locale, "home": home, "branch": branch},
    )


def _priced(session: Session) -> None:
    """Add an organization that is charged in eight currencies, large amounts and small ones."""

    def draw(rng: np.random.Generator, seasons: Seasons) -> drawn.World:
        taken = set(session.execute(text("SELECT lower(name) FROM organization")).scalars())
        codes = set(session.execute(text("SELECT lower(code) FROM course")).scalars())
        made = drawn.draw(rng, seasons, organizations=1, names_taken=taken, codes_taken=codes)
        made.organizations = [replace(made.organizations[0], name="Globe Skills")]
        courses = [(drawn.untaken(f"GLO-{n}", codes), f"World course {n}") for n in range(1, 10)]
        made.courses = courses
        since = seasons.begin - drawn.BEFORE
        made.prices = [
            drawn.Price(n, None, _price(worth, currency), currency, since)
            for n, (currency, worth) in enumerate([*CURRENCIES.items(), ("EUR", 1)])
        ]
        window = (seasons.begin, seasons.end + 100 * DAY)
        made.pools = [
            drawn.place(
                seasons, made, name=f"Pool {currency}", organization=0, course=n, window=window,
                made=seasons.begin - DAY, availability=90,
            )
            for n, currency in enumerate(CURRENCIES)
        ]  # fmt: skip
        return made

    simulation.relive(session, draw, months=14, redemptions=6_000, seed=9)


def _price(worth: Decimal | int, currency: str) -> Decimal:
    whole = Decimal(249) * worth
    return whole.quantize(Decimal(1)) if currency in ("JPY", "IDR") else whole


def answers(name: str, asked: Asked) -> Iterator[tuple[nbformat.NotebookNode, object]]:
    """Run one of our notebooks' cells in this process, and give each with what it ends with; None for text."""
    notebook = nbformat.read(reporting.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    known = {"organization": asked.organization, "from_": asked.from_, "to": asked.to}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            yield cell, None
        elif "parameters" not in cell.metadata.get("tags", []):
            *before, last = cell.source.split("\n")
            exec("\n".join(before), known)  # noqa: S102  # our own notebook
            yield cell, eval(last, known)  # noqa: S307  # as above


def executed(name: str, asked: Asked) -> nbformat.NotebookNode:
    """Give one of our notebooks with what its cells show."""
    from IPython.core.interactiveshell import InteractiveShell

    display, cells = InteractiveShell.instance().display_formatter, []
    for cell, answer in answers(name, asked):
        cells.append(cell)
        if answer is not None and display is not None:
            data, _ = display.format(answer)  # type: ignore[no-untyped-call]  # IPython's
            cell.outputs = [nbformat.v4.new_output("execute_result", data)]
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=cells)
    return notebook


def write(folder: Path, names: set[str]) -> Iterator[str]:
    """Write every notebook of some worlds, all without names, and tell what was written."""
    for world, asked in build(names).items():
        for notebook in NAMES:
            target = folder / world / notebook
            target.parent.mkdir(parents=True, exist_ok=True)
            page = rendering.render(executed(notebook, asked))
            target.with_suffix(".html").write_text(page)
            target.with_suffix(".pdf").write_bytes(printing.pdf(page))
            pictures = ["pdftoppm", "-r", PIXELS, "-png", f"{target}.pdf", str(target)]
            subprocess.run(pictures, check=True)
            yield f"{world}/{notebook}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("world", nargs="*")
    options = parser.parse_args()
    with scratch.system():
        for written in write(options.folder, set(options.world)):
            print(written, flush=True)  # noqa: T201  # what it does


if __name__ == "__main__":
    main()
