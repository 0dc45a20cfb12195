"""Older code of this house, out of its history: what a rolling upgrade begins with."""

import subprocess
from pathlib import Path

from tests.composing import HOUSE
from worker.database import migrating, revisions


def older(folder: Path) -> Path | None:
    """Put the oldest code that runs with the present schema into a folder; None if there is none here.

    There is none where the newest migration needs the newest code, or where the history is not at hand.
    """
    revision = oldest()
    commit = _last_commit_of(revision) if revision < revisions.CODE else ""
    if not commit:
        return None
    folder.mkdir()
    archive = subprocess.Popen(["git", "-C", str(HOUSE), "archive", commit], stdout=subprocess.PIPE)
    subprocess.run(["tar", "--extract", f"--directory={folder}"], stdin=archive.stdout, check=True)
    assert archive.wait() == 0, f"{commit} cannot be read"
    return folder


def oldest() -> str:
    """Give the revision of the oldest code that runs with the present schema."""
    return migrating.oldest_code(revisions.CODE)


def _last_commit_of(revision: str) -> str:
    """Give the last commit before the next migration came; nothing where git does not know it."""
    following = f"migrations/versions/{int(revision) + 1:04}_*.py"
    added = ["log", "-1", "--diff-filter=A", "--format=%P", "--", following]
    known = subprocess.run(
        ["git", "-C", str(HOUSE), *added], capture_output=True, text=True, check=False
    )
    return known.stdout.strip().partition(" ")[0] if known.returncode == 0 else ""
