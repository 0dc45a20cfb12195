"""Keeps the catalogues in step with the code: `make languages`.

Messages are gathered from the modules and templates of worker/ and webhook/: what stands as text in
`say(…)`, `say_count(…)` and `phrase(…)`, and the paragraphs of notebooks/.
New ones are put into every catalogue, untranslated; those that no code says any more go.
"""

import io
import json
import sys
from functools import cache
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from worker.languages import paragraphs
from worker.languages.phrasebooks import CATALOGUES, LANGUAGES, SOURCE

HOUSE = Path(__file__).parent.parent.parent
KEYWORDS = {"say": None, "phrase": None, "say_count": (1, 2)}
METHODS = [("**.py", "python"), ("**.html", "jinja2"), ("**.txt", "jinja2")]

# What tools for translators need to know of a file; who changed it and when, git knows.
HEADER = """\
msgid ""
msgstr ""
"Language: {language}\\n"
"Plural-Forms: {plurals}\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


@cache  # modules and templates are parsed once, however many languages there are
def messages() -> Catalog:
    """Gather the messages of the code, with the files that say each."""
    gathered = Catalog()
    for room in ("webhook", "worker"):
        for name, _, message, _, _ in extract_from_dir(HOUSE / room, METHODS, keywords=KEYWORDS):
            gathered.add(message, locations=[(f"{room}/{name}", 1)])
    for path in sorted((HOUSE / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for message in paragraphs.messages("".join(cell["source"])):
                    gathered.add(message, locations=[(f"notebooks/{path.name}", 1)])
    return gathered


def read(language: str) -> Catalog:
    """Read a language's catalogue; an empty one where there is none yet."""
    path = CATALOGUES / f"{language}.po"
    return read_po(io.BytesIO(path.read_bytes() if path.exists() else b""), locale=language)


def updated(language: str) -> bytes:
    """Give a language's file with the messages of the code: new ones empty, old ones gone."""
    catalogue = read(language)
    catalogue.update(messages(), no_fuzzy_matching=True)
    file = io.BytesIO(HEADER.format(language=language, plurals=catalogue.plural_forms).encode())
    file.seek(0, io.SEEK_END)
    write_po(
        file,
        catalogue,
        width=100,
        omit_header=True,
        sort_output=True,
        include_lineno=False,
        ignore_obsolete=True,
    )
    return file.getvalue()


if __name__ == "__main__":
    for language in sorted({*LANGUAGES, *sys.argv[1:]} - {SOURCE}):
        (CATALOGUES / f"{language}.po").write_bytes(updated(language))
