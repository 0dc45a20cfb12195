"""Cells that failed: the report goes on, with a notice in the place of each.

A reader sees a sentence and a reference. The traceback is for the operator, and told by the same reference.
"""

import re
import secrets
from typing import TYPE_CHECKING

from worker.logs import log

if TYPE_CHECKING:
    from nbformat import NotebookNode

GOES_ON = "raises-exception"  # nbclient's tag of a cell after whose failure it goes on
MARKER = "papermill-error-cell"  # how the tag of papermill's own notice begins
KEPT = "keypool_failures"  # the notebook's metadata that holds them
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # lines of a traceback that are shown on a terminal
NOTICE = "This part could not be made. Whoever operates keypool finds out why by the reference"


def go_on(notebook: "NotebookNode") -> None:
    """Have a notebook go on after a cell that fails."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.tags = [*cell.metadata.get("tags", []), GOES_ON]


def leave(notebook: "NotebookNode", *, name: str) -> bool:
    """Put notices in the places of what failed; False where nothing was made at all."""
    notebook.cells = [cell for cell in notebook.cells if not _is_papermills(cell)]
    if not any(_shows(cell) for cell in notebook.cells):
        return False
    told = [_noticed(cell, name) for cell in notebook.cells if _failed(cell)]
    notebook.metadata[KEPT] = "\n\n".join(told)
    return True


def traceback(notebook: "NotebookNode") -> str | None:
    """Give the tracebacks of what failed, each under its reference; None if all was made."""
    told: str | None = notebook.metadata.get(KEPT)
    return told


def plain(lines: list[str]) -> str:
    """Give a traceback without colours."""
    return COLOURS.sub("", "\n".join(lines))


def _is_papermills(cell: "NotebookNode") -> bool:
    return any(tag.startswith(MARKER) for tag in cell.metadata.get("tags", []))


def _failed(cell: "NotebookNode") -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def _shows(cell: "NotebookNode") -> bool:
    kinds = ("display_data", "execute_result")
    return any(output.output_type in kinds for output in cell.get("outputs", []))


def _noticed(cell: "NotebookNode", name: str) -> str:
    """Replace a failed cell's outputs by a notice; gives the reference and the traceback."""
    from nbformat.v4 import new_output

    lines = next(output.traceback for output in cell.outputs if output.output_type == "error")
    reference = secrets.token_hex(4)
    told = f"{reference}: {plain(lines)}"
    log.error("cell failed", notebook=name, reference=reference, traceback=told)
    notice = {"text/html": f"<p><strong>{NOTICE} {reference}.</strong></p>"}
    cell.outputs = [new_output("display_data", notice)]
    return told
