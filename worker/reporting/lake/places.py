"""Where the lake's files are: a folder or any fsspec address, a file for each fact, organization and month.

A file is written aside and then moved into its place, so that nobody reads half of it. A month's manifest
comes last: who finds it with the version that the database knows has the month whole.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from uuid import uuid4

from worker import errors
from worker.settings import settings

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ASIDE = ".aside"  # engines that read the folder skip what begins with a dot
COMPLETE = "complete"


class Manifest(TypedDict):
    """What a month of an organization has: its version, and how many rows of each fact."""

    version: str
    rows: dict[str, int]


@dataclass(frozen=True)
class Place:
    """A lake's file system and its root there."""

    files: "AbstractFileSystem"
    root: str
    is_local: bool

    def file(self, fact: str, organization: int, month: date) -> str:
        """Give the path of a fact's file of one organization and month."""
        return f"{self.folder(fact, organization)}/month={month:%Y-%m}/facts.parquet"

    def folder(self, fact: str, organization: int) -> str:
        """Give the folder of an organization's files of one fact."""
        return f"{self.root}/{fact}/organization={organization}"

    def aside(self) -> str:
        """Give a new path where nobody looks for files."""
        self.files.makedirs(f"{self.root}/{ASIDE}", exist_ok=True)
        return f"{self.root}/{ASIDE}/{uuid4().hex}"

    def publish(
        self,
        organization: int,
        month: date,
        written: dict[str, str],
        manifest: Manifest,
        known: Iterable[str],
    ) -> None:
        """Move a month's files into their places, and remove those of facts that it has no more.

        `written` has each fact's path aside. In between the month has no manifest, so nobody takes the
        files of two versions for one.
        """
        self._remove(self._manifest(organization, month))
        for fact in known:
            path = self.file(fact, organization, month)
            if fact in written:
                self._move(written[fact], path)
            else:
                self._remove(path)
        if written:
            self.tell(organization, month, manifest)

    def tell(self, organization: int, month: date, manifest: Manifest) -> None:
        """Write a month's manifest."""
        draft = self.aside()
        self.files.pipe_file(draft, json.dumps(manifest).encode())
        self._move(draft, self._manifest(organization, month))

    def manifest(self, organization: int, month: date) -> Manifest | None:
        """Give a month's manifest; None while it has none."""
        try:
            read: Manifest = json.loads(self.files.cat_file(self._manifest(organization, month)))
        except FileNotFoundError:
            return None
        return read

    def sweep(self) -> None:
        """Remove what builds that were killed left aside."""
        with suppress(FileNotFoundError):
            self.files.rm(f"{self.root}/{ASIDE}", recursive=True)

    def _manifest(self, organization: int, month: date) -> str:
        return f"{self.folder(COMPLETE, organization)}/{month:%Y-%m}.json"

    def _move(self, source: str, target: str) -> None:
        self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self.files.mv(source, target)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.files.rm_file(path)


@cache
def place(address: str) -> Place:
    """Find the lake at an address.

    Raises:
        ExtraMissingError: fsspec, or what it needs for such an address, is not installed.
        InvalidInputError: fsspec knows no such address.
    """
    with errors.of_extra("notebooks"):
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

    try:
        files, root = url_to_fs(address)
    except ImportError as missing:
        raise errors.InvalidInputError(f"The lake at “{address}” needs more: {missing}") from None
    except ValueError as error:
        raise errors.InvalidInputError(f"There is no lake at “{address}”: {error}") from None
    return Place(files, root.rstrip("/"), isinstance(files, LocalFileSystem))


def address() -> str:
    """Give the lake's address: KEYPOOL_LAKE, else a folder under the home."""
    named = settings().lake or str(settings().home / "lake")
    return named if "://" in named else str(Path(named).resolve())


def ours() -> Place:
    """Find this system's lake; it need not be there.

    Raises:
        ExtraMissingError, InvalidInputError: as `place`.
    """
    return place(address())


def is_there() -> bool:
    """Say whether a lake may be there, without importing anything: a folder, or an address elsewhere."""
    return "://" in address() or Path(address()).is_dir()
