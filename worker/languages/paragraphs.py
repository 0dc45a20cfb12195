"""Markdown that people read, paragraph by paragraph: each is one message of the catalogues."""

import re
from collections.abc import Iterator

from worker.languages.phrasebooks import Phrasebook

HEADING = re.compile(r"(#+) +(.+)", re.DOTALL)


def messages(markdown: str) -> Iterator[str]:
    """Give the messages of a markdown text: its headings without their marks, and its paragraphs."""
    for _, text in _parts(markdown):
        yield text


def translated(markdown: str, book: Phrasebook) -> str:
    """Say a markdown text in another language; a paragraph without a translation is left as it is."""
    return "\n\n".join(mark + book.translate(text) for mark, text in _parts(markdown))


def _parts(markdown: str) -> Iterator[tuple[str, str]]:
    for paragraph in filter(str.strip, markdown.split("\n\n")):
        heading = HEADING.fullmatch(paragraph.strip())
        text = heading[2] if heading else paragraph
        yield (f"{heading[1]} " if heading else "", " ".join(text.split()))
