"""Rendering an executed notebook as one HTML page, and listing keypool's notebooks."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

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


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def render(executed: "NotebookNode") -> str:
    """Render an executed notebook as one HTML page, without code and external resources."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        extra_template_basedirs=[str(NOTEBOOKS)],
        template_name="page",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    page, _ = exporter.from_notebook_node(executed, {"metadata": {"name": title(executed)}})
    return str(page)


def listing() -> list[NotebookShape]:
    """List the notebooks that come with keypool."""
    return [_described(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


def title(notebook: Mapping[str, Any]) -> str:
    """Give a notebook's title: its first heading."""
    return next(
        (match[1] for text in _texts(notebook) if (match := re.match(r"# +(.+)", text))), "Report"
    )


def _texts(notebook: Mapping[str, Any]) -> list[str]:
    # In a notebook file a text may be a list of lines.
    markdown = (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return ["".join(cell["source"]) for cell in markdown]


def _described(path: Path) -> NotebookShape:
    # Not with nbformat, which takes seconds to import, because pages list the notebooks.
    notebook = json.loads(path.read_text(encoding="utf-8"))
    paragraphs = "\n\n".join(_texts(notebook)).split("\n\n")
    asked = next((text for text in paragraphs if not text.startswith("#")), "")
    return {"name": path.stem, "title": title(notebook), "question": " ".join(asked.split())}
