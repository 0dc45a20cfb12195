"""What tests give to the reader, and what they ask of it."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from worker.pools.reading import Keys, Purpose, ReadAs, Recipients, joined, opened

GIVEN = Path(__file__).parent / "given"


class Found(NamedTuple):
    """A key that can be added."""

    line: int
    code: str
    recipient: str = ""
    name: str = ""
    reference: str = ""
    labels: str = ""


MEASURE = """
import sys
from benchmarks.frame import memory_mb
from worker.pools.reading import in_chunks, opened

with open(sys.argv[1], "rb") as file:
    read = sum(map(len, in_chunks(opened(file).keys(), 50_000)))
print(read, memory_mb())
"""


def measured(path: Path) -> tuple[int, float]:
    """Read a file's keys in a process of its own; gives how many they are, and its peak in megabytes."""
    command = [sys.executable, "-c", MEASURE, str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    read, peak = printed.split()
    return int(read), float(peak)


def raw(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def keys(content: str | bytes, **read_as: object) -> Keys:
    blocks = list(opened(io.BytesIO(raw(content)), read_as=ReadAs.of(**read_as)).keys())
    return joined(blocks) if blocks else Keys([], [])


def found(content: str | bytes, **read_as: object) -> list[tuple[int, str]]:
    read = keys(content, **read_as)
    return list(zip(read.numbers, read.codes, strict=True))


def owned(content: str | bytes, **read_as: object) -> list[Found]:
    read = keys(content, **read_as)
    rows = zip(read.numbers, read.codes, read.all_owners(), strict=True)
    return [Found(number, code, *owner) for number, code, owner in rows]


def refused(content: str | bytes, **read_as: object) -> dict[int, str]:
    return {line.number: line.reason for line in keys(content, **read_as).refused}


def read(content: str | bytes, purpose: Purpose = Purpose.KEYS, **read_as: object) -> dict:
    return dict(
        opened(io.BytesIO(raw(content)), read_as=ReadAs.of(**read_as), purpose=purpose).read
    )


def recipients(content: str | bytes, *, reference: str = "", **read_as: object) -> Recipients:
    given = opened(
        io.BytesIO(raw(content)), read_as=ReadAs.of(**read_as), purpose=Purpose.RECIPIENTS
    )
    return given.recipients(reference=reference)


def asked(content: str | bytes, **read_as: object) -> list[tuple[str, int | None, str]]:
    rows = recipients(content, **read_as).rows
    return [(row.recipient, row.count, row.reference) for row in rows]


def ods(rows: Sequence[Sequence[str]], *, sheet: str = "Sheet1") -> bytes:
    """Make a workbook as LibreOffice does, of texts alone."""
    cells = "".join(
        "<table:table-row>"
        + "".join(
            '<table:table-cell office:value-type="string" calcext:value-type="string">'
            f"<text:p>{cell}</text:p></table:table-cell>"
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    space = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<office:document-content xmlns:office="{space}:office:1.0" xmlns:table="{space}:table:1.0"'
        f' xmlns:text="{space}:text:1.0" xmlns:calcext="urn:org:documentfoundation:names:calc"'
        f' office:version="1.2"><office:body><office:spreadsheet><table:table table:name="{sheet}">'
        f"{cells}</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{space}:manifest:1.0"><manifest:file-entry'
            ' manifest:full-path="/"'
            ' manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/>'
            '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
            "</manifest:manifest>",
        )
    return made.getvalue()
