"""Rendering an executed notebook as one HTML page, and listing keypool's notebooks."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from worker import errors
from worker.languages.phrasebooks import phrasebook
from worker.reporting import parameters, sections
from worker.reporting.parameters import Values
from worker.settings import settings

if TYPE_CHECKING:
    from nbformat import NotebookNode


class NotebookShape(TypedDict):
    """A notebook of reports."""

    name: str
    """Its name in requests."""
    title: str
    """Its heading."""
    question: str
    """The question that it answers."""
    parameters: Values
    """Its own parameters, beside organization and days: their names and defaults."""


class Asked(TypedDict):
    """What a question tells the page beside its line: a question's output has it as `ASKED`."""

    language: str
    """The locale of the organization, in whose language the page is."""
    organization: str
    """The organization, in words."""
    period: str
    """The period, in words."""


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", re.ASCII)  # no path leads elsewhere
ISOLATED, OVER = "\u2068", "\u2069"  # what is between goes in its own direction
ASKED = "application/vnd.keypool.question+json"


def render(executed: "NotebookNode") -> str:
    """Render an executed notebook as one HTML page, without code and external resources.

    It is in the language of the question's organization. Questions that nothing answers are named
    once, at the end.
    """
    from nbconvert import HTMLExporter

    asked = _asked(executed)
    book = phrasebook(asked["language"])
    exporter = HTMLExporter(
        extra_template_basedirs=[str(NOTEBOOKS)],
        template_name="page",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    metadata = {"name": book.translate(title(executed))}
    made = book.say("Made by keypool.")
    resources = {
        "metadata": metadata,
        "language": book.language,
        "foot": _foot(asked),
        "made": made,
    }
    page, _ = exporter.from_notebook_node(sections.told(executed, book), resources)
    return str(page)


def listing() -> list[NotebookShape]:
    """List the notebooks that come with keypool, and those in KEYPOOL_NOTEBOOKS."""
    return [_described(path) for path in notebooks()]


def notebooks() -> list[Path]:
    """Give the notebooks that have a name: keypool's, and in KEYPOOL_NOTEBOOKS those of other names."""
    ours = sorted(NOTEBOOKS.glob("*.ipynb"))
    folder = settings().notebooks
    own = sorted(folder.glob("*.ipynb")) if folder else []
    names = {path.stem for path in ours}
    return ours + [path for path in own if path.stem not in names and NAME.fullmatch(path.stem)]


def find(name: str) -> Path | None:
    """Find a notebook by its name; None if there is none. A name is never a path."""
    return next((path for path in notebooks() if path.stem == name), None)


def own_parameters(name: str) -> Values:
    """Give the parameters of a notebook that has a name, with their defaults.

    Raises:
        NotFoundError: there is no such notebook.
    """
    path = find(name)
    if path is None:
        known = ", ".join(each.stem for each in notebooks())
        raise errors.NotFoundError(f"There is no notebook “{name}”; name one of {known}.")
    return _described(path)["parameters"]


def is_ours(notebook: Path) -> bool:
    """Say whether a notebook comes with keypool."""
    return notebook.resolve().parent == NOTEBOOKS.resolve()


def title(notebook: Mapping[str, Any]) -> str:
    """Give a notebook's title: its first heading."""
    return next(
        (match[1] for text in _texts(notebook) if (match := re.match(r"# +(.+)", text))), "Report"
    )


def _asked(executed: "NotebookNode") -> Asked:
    """Give what the notebook asked; of one that asked nothing, the language is English."""
    outputs = (out for cell in executed.cells for out in cell.get("outputs", ()))
    asked: Asked | None = next(
        (out.data[ASKED] for out in outputs if ASKED in out.get("data", {})), None
    )
    return asked or {"language": "", "organization": "", "period": ""}


def _foot(asked: Asked) -> str:
    """Give what stands below each printed page, as a string of CSS.

    The organization is isolated: letters that go from right to left do not turn the days beside them round.
    """
    parts = filter(None, (asked["organization"], asked["period"]))
    words = " · ".join(f"{ISOLATED}{part}{OVER}" for part in parts)
    return "".join(c if c.isalnum() or c == " " else f"\\{ord(c):x} " for c in words)


def _texts(notebook: Mapping[str, Any]) -> list[str]:
    # In a notebook file a text may be a list of lines.
    markdown = (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return ["".join(cell["source"]) for cell in markdown]


def _described(path: Path) -> NotebookShape:
    # Not with nbformat, which takes seconds to import, because pages list the notebooks.
    notebook = json.loads(path.read_text(encoding="utf-8"))
    paragraphs = "\n\n".join(_texts(notebook)).split("\n\n")
    asked = next((text for text in paragraphs if not text.startswith("#")), "")
    return {
        "name": path.stem,
        "title": title(notebook),
        "question": " ".join(asked.split()),
        "parameters": parameters.declared(notebook),
    }
