"""Cells that failed: the report goes on, with a notice in the place of each.

A reader sees a sentence and a reference. The traceback is for the operator, and told by the same reference.
"""

import re
import secrets
from typing import TYPE_CHECKING

from worker.languages.phrases import phrase
from worker.logs import log

if TYPE_CHECKING:
    from nbformat import NotebookNode

Ended = dict[int, str]  # cells that ended their kernel, or are left out: their number, and why
NUMBER = "keypool_number"  # the metadata by which a cell is known again
LEFT_OUT = "skip-execution"  # nbclient's tag of a cell that does not run
GOES_ON = "raises-exception"  # nbclient's tag of a cell after whose failure it goes on
MARKER = "papermill-error-cell"  # how the tag of papermill's own notice begins
KEPT = "keypool_failures"  # the notebook's metadata that holds them
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # lines of a traceback that are shown on a terminal
# Said in English, and by `sections` in the language of the page.
NOTICE = phrase(
    "This part could not be made. Whoever operates keypool finds out why by the reference"
)


def go_on(notebook: "NotebookNode", *, without: Ended) -> None:
    """Have a notebook go on after a cell that fails, and run without some."""
    for number_, cell in enumerate(notebook.cells):
        cell.metadata[NUMBER] = number_
        if cell.cell_type == "code":
            tag = LEFT_OUT if number_ in without else GOES_ON
            cell.metadata.tags = [*cell.metadata.get("tags", []), tag]


def number(cell: "NotebookNode") -> int | None:
    """Give the number of a cell of a notebook that goes on; None for papermill's own."""
    known: int | None = cell.metadata.get(NUMBER)
    return known


def leave(notebook: "NotebookNode", *, name: str, ended: Ended) -> bool:
    """Put notices in the places of what failed; False where nothing was made at all."""
    notebook.cells = [cell for cell in notebook.cells if not _is_papermills(cell)]
    if not any(_shows(cell) for cell in notebook.cells):
        return False
    told = [_noticed(cell, why, name) for cell in notebook.cells if (why := _failed(cell, ended))]
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


def _failed(cell: "NotebookNode", ended: Ended) -> str | None:
    """Say why a cell failed; None if it did not."""
    if why := ended.get(cell.metadata.get(NUMBER, -1)):
        return why if cell.cell_type == "code" else None
    failed = (output for output in cell.get("outputs", []) if output.output_type == "error")
    return next((plain(output.traceback) for output in failed), None)


def _shows(cell: "NotebookNode") -> bool:
    kinds = ("display_data", "execute_result")
    return any(output.output_type in kinds for output in cell.get("outputs", []))


def _noticed(cell: "NotebookNode", why: str, name: str) -> str:
    """Replace a failed cell's outputs by a notice; gives the reference and the traceback."""
    from nbformat.v4 import new_output

    reference = secrets.token_hex(4)
    told = f"{reference}: {why}"
    log.error("cell failed", notebook=name, reference=reference, traceback=told)
    notice = {"text/html": f"<p><strong>{NOTICE} {reference}.</strong></p>"}
    cell.outputs = [new_output("display_data", notice)]
    return told
