"""Recognizing a file by its first bytes, whatever its name or media type: text, or a workbook.

Any other known kind is named in the error, with what to do instead.
"""

import io
import zipfile
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO

from worker import errors
from worker.pools.reading import apart, encodings, workbooks
from worker.pools.reading.texts import Text, rewindable

START = 1 << 10
LARGEST_DIRECTORY = 1 << 20  # bytes: some ten thousand parts


class Kind(StrEnum):
    """A file's kind, as the caller declares it."""

    TEXT = "text"
    CSV = "csv"
    WORKBOOK = "workbook"


@dataclass(frozen=True)
class File:
    """A file's lines; for a workbook also the sheet that is read, and the others."""

    text: Text
    sheet: str | None = None
    other_sheets: list[str] = field(default_factory=list)


# First bytes of other kinds of files: what they are, and what to do.
SIGNATURES = (
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"BZh", "compressed (bzip2)"),
    (b"\xfd7zXZ", "compressed (xz)"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
    (b"7z\xbc\xaf", "compressed (7z)"),
    (b"Rar!", "compressed (rar)"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
MARKUP = (
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "XML"),
    (b"<table", "a web page"),
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP = b"PK\x03\x04"
IN_A_ZIP = {
    "xl/workbook.xml": "xlsx",
    "xl/workbook.bin": "xlsb",
    "word/document.xml": "a text document (Word)",
    "ppt/presentation.xml": "slides (PowerPoint)",
    "Index/Document.iwa": "a document of Numbers or Pages",
}
ODS = "application/vnd.oasis.opendocument.spreadsheet"
WORKBOOKS = ("xlsx", "xlsb", "xls", "ods")


class Spared(io.RawIOBase):
    """A file of which no archive's directory is read that is too large: one of millions takes gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes; without a number at most as many as a directory has.

        Raises:
            BadZipFile: it is more.
        """
        if size > LARGEST_DIRECTORY:
            raise zipfile.BadZipFile
        return self._file.read(size if size >= 0 else LARGEST_DIRECTORY)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Say which place it is at."""
        return self._file.tell()


def opened(stream: BinaryIO, *, kind: Kind | None = None, encoding: str | None = None) -> File:
    """Open a file.

    Args:
        stream: its bytes; a stream that cannot go back is kept in a file meanwhile.
        kind: what it is said to be; None has it told by its bytes.
        encoding: a text's, where it is said; None has it told by its bytes.

    Raises:
        InvalidInputError: it is neither text nor a workbook, other than it is said to be, damaged,
            or of no encoding that can be told.
    """
    file = rewindable(stream)
    found = _found(file)
    file.seek(0)
    if found is None:
        if kind is Kind.WORKBOOK:
            raise errors.InvalidInputError("It is text and no workbook; send it as text/csv.")
        return File(Text(file, encodings.of(file, declared=encoding)))
    if found not in WORKBOOKS:
        raise errors.InvalidInputError(f"It is {found}; save the table as xlsx or CSV.")
    if kind in (Kind.TEXT, Kind.CSV):
        raise errors.InvalidInputError(
            f"It is a workbook ({found}) and no text; say so, or save it as CSV."
        )
    read = apart.read(file, found)
    return File(read.text, read.sheet, read.others)


def _found(file: BinaryIO) -> str | None:
    """Say what a file is if it is no text."""
    file.seek(0)
    start = file.read(START)
    if start.startswith(OLE):
        return "xls"
    if start.startswith(ZIP):
        return _in_a_zip(file)
    named = next((name for signature, name in SIGNATURES if start.startswith(signature)), None)
    if named:
        return named
    bare = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((name for signature, name in MARKUP if bare.startswith(signature)), None)


def _in_a_zip(file: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(Spared(file)) as archive:
            names = archive.namelist()
            if "mimetype" in names:
                return (
                    "ods"
                    if archive.open("mimetype").read(START).decode() == ODS
                    else "another document"
                )
    except (zipfile.BadZipFile, UnicodeDecodeError, RuntimeError):
        raise errors.InvalidInputError(workbooks.DAMAGED) from None
    bare = {name.replace("\\", "/").lower(): name for name in names}
    return next(
        (kind for part, kind in IN_A_ZIP.items() if part.lower() in bare), "compressed (zip)"
    )
