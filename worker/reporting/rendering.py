"""An executed notebook as one HTML page, and the names of those that come with keypool."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def render(executed: "NotebookNode") -> str:
    """Give an executed notebook as one HTML page: no code, and nothing to load from elsewhere."""
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


def listing() -> list[dict[str, str]]:
    """List the notebooks that come with keypool: `{name, title, question}`."""
    return [_described(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


def title(notebook: "NotebookNode") -> str:
    """Give a notebook's title: its first heading."""
    return next(
        (found[1] for text in _texts(notebook) if (found := re.match(r"# +(.+)", text))), "Report"
    )


def _texts(notebook: "NotebookNode") -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def _described(path: Path) -> dict[str, str]:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    paragraphs = "\n\n".join(_texts(notebook)).split("\n\n")
    asked = next((text for text in paragraphs if not text.startswith("#")), "")
    return {"name": path.stem, "title": title(notebook), "question": " ".join(asked.split())}
