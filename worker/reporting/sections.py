"""What a page tells of an executed notebook: in one language, and nothing twice."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from worker.languages import paragraphs
from worker.languages.phrasebooks import Phrasebook
from worker.reporting import notices

if TYPE_CHECKING:
    from nbformat import NotebookNode

HEADING = re.compile("^##+ +")  # of a question; the title has one #
# What the HTML of an answer of nothing has. Beside others it is left out, unless it says why.
NOTHING, WHY = 'class="nothing', 'class="nothing why"'


def told(executed: "NotebookNode", book: Phrasebook) -> "NotebookNode":
    """Give a notebook in a language, without the questions that nothing answers: they are named last."""
    import nbformat

    cells: list[NotebookNode] = []
    unanswered: list[str] = []
    for section in _sections(executed.cells):
        answers = [cell for cell in section if cell.cell_type == "code" and cell.outputs]
        if not answers or not all(_has(cell, NOTHING) for cell in answers):
            cells += [cell for cell in section if _has(cell, WHY) or not _has(cell, NOTHING)]
        elif why := [cell for cell in answers if _has(cell, WHY)][:1]:
            cells += [section[0], *why]
        else:
            unanswered.append(book.translate(HEADING.sub("", section[0].source.strip(), count=1)))
    page: NotebookNode = executed.copy()
    page.cells = [_in(cell, book) for cell in cells]
    if unanswered:
        page.cells.append(nbformat.v4.new_markdown_cell(_listed(unanswered, book)))
    return page


def _sections(cells: Sequence["NotebookNode"]) -> Iterator[list["NotebookNode"]]:
    """Part a notebook where a heading begins a question."""
    section: list[NotebookNode] = []
    for cell in cells:
        if cell.cell_type == "markdown" and HEADING.match(cell.source) and section:
            yield section
            section = []
        section.append(cell)
    yield section


def _has(cell: "NotebookNode", mark: str) -> bool:
    outputs = cell.get("outputs", ())
    return any(mark in output.get("data", {}).get("text/html", "") for output in outputs)


def _in(cell: "NotebookNode", book: Phrasebook) -> "NotebookNode":
    import nbformat

    translated: NotebookNode = cell.copy()
    if cell.cell_type == "markdown":
        translated.source = paragraphs.translated(cell.source, book)
    elif _has(cell, notices.NOTICE):
        said = (
            cell.outputs[0]
            .data["text/html"]
            .replace(notices.NOTICE, book.translate(notices.NOTICE))
        )
        translated.outputs = [nbformat.v4.new_output("display_data", {"text/html": said})]
    return translated


def _listed(questions: Sequence[str], book: Phrasebook) -> str:
    heading = book.say("Nothing yet")
    said = book.say("In this period there is nothing that answers these questions:")
    return "\n".join([f"## {heading}\n\n{said}\n", *(f"- {question}" for question in questions)])
