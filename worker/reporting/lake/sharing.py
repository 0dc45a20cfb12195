"""What of the lake a report's kernel is shown: the folders of its own organization and its descendants."""

import tempfile
from datetime import date
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database import connections
from worker.reporting.lake import facts, places
from worker.reporting.lake.places import Manifest, Place

# A day is in a time zone, and a report's default is a year: a month and a half more is enough.
MONTHS = text("""
    SELECT lake_month.organization_id, month FROM lake_month
     WHERE month >= coalesce(CAST(:first AS date), clock_now()::date - 366) - interval '45 days'
       AND (CAST(:about AS bigint) IS NULL OR organization_id IN (
           SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :about))
""")
TREE = text("SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :about")
NAMES = (places.COMPLETE, *(fact.name for fact in facts.ALL if fact.is_asked))


def shown(
    about: int | None, first: date | None, scratch: Path
) -> tuple[Path | None, tuple[Path, ...]]:
    """Give the lake's folder for a report on an organization's tree, or on all, and what may be read of it.

    What is elsewhere is copied first, as far as a report from a day on needs it: a kernel has no network.

    Raises:
        InvalidInputError: there can be no lake at the address.
    """
    if not places.is_there():
        return None, ()
    place = places.ours()
    if not place.is_local:
        copied = Path(tempfile.mkdtemp(prefix="lake-", dir=scratch))
        connections.transaction(_copy, place=place, folder=copied, about=about, first=first)
        return copied, (copied,)
    root = Path(place.root)
    if about is None:
        return root, (root,)
    tree = connections.transaction(_tree, about=about)
    folders = [Path(place.folder(name, one)) for name in NAMES for one in tree]
    return root, tuple(folder for folder in folders if folder.is_dir())


def _tree(session: Session, *, about: int) -> list[int]:
    return list(session.scalars(TREE, {"about": about}))


def _copy(
    session: Session, *, place: Place, folder: Path, about: int | None, first: date | None
) -> None:
    copied = places.place(str(folder))
    for row in session.execute(MONTHS, {"about": about, "first": first}).all():
        if manifest := place.manifest(row.organization_id, row.month):
            _copy_month(place, copied, row.organization_id, row.month, manifest)


def _copy_month(
    place: Place, copied: Place, organization: int, month: date, manifest: Manifest
) -> None:
    """Copy a month's files, and then its manifest, if it is still of that version."""
    for name in manifest["rows"].keys() & set(NAMES):
        target = copied.file(name, organization, month)
        Path(target).parent.mkdir(parents=True)
        place.files.get_file(place.file(name, organization, month), target)
    if place.manifest(organization, month) == manifest:
        copied.tell(organization, month, manifest)
