"""What pages load lies here, as its makers published it, with its licence."""

import hashlib
import re
from pathlib import Path

import pytest

import webhook.console

STATIC = Path(webhook.console.__file__).parent / "static"
FOLDERS = [STATIC, Path(__file__).parent / "axe"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_asset_of_others_is_the_one_whose_checksum_is_kept(folder):
    kept = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    there = {path.name for path in folder.iterdir() if ".min." in path.name}

    assert set(kept) == there
    for name, checksum in kept.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name
        assert (folder / f"{name.split('.')[0]}.LICENSE.txt").exists()


def test_pages_load_nothing_from_elsewhere():
    templates = (STATIC.parent / "templates").glob("*.html")

    assert [path.name for path in templates if "//" in path.read_text()] == []


def test_a_courses_code_is_not_broken_in_a_cell_of_a_table():
    cells = [
        (path.name, cell)
        for path in (STATIC.parent / "templates").glob("*.html")
        for cell in re.findall(r"<t[dh][^>]*>(?:<a [^>]*>)?{{ \w+\.course }}", path.read_text())
    ]

    assert len(cells) >= 7
    assert [(name, cell) for name, cell in cells if 'class="code"' not in cell] == []
    assert re.search(
        r"td\.code, th\.code { white-space: nowrap; }", (STATIC / "console.css").read_text()
    )
