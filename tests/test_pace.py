"""How a run of the tests uses its machine."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import pace


def test_the_files_that_come_first_are_there():
    assert [file for file in pace.LONGEST_FIRST if not (pace.HOUSE / file).exists()] == []


def test_the_longest_files_come_first_and_the_others_stay_in_order():
    tree = ["tests/a.py", *reversed(pace.LONGEST_FIRST), "tests/b.py", "tests/a.py"]
    items = [SimpleNamespace(path=pace.HOUSE / file) for file in tree]

    pace.pytest_collection_modifyitems(items)

    assert [item.path for item in items] == [
        pace.HOUSE / file
        for file in (*pace.LONGEST_FIRST, "tests/a.py", "tests/b.py", "tests/a.py")
    ]


def test_a_file_that_became_long_is_told_of():
    took = {pace.LONGEST_FIRST[0]: 50.0, "tests/short.py": 3.9, "tests/long.py": 46.1}

    assert pace.late(took) == [
        "tests/long.py took 46 s: put it into LONGEST_FIRST of tests/pace.py."
    ]


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"ROOM": 0}, True),
        ({"ROOM": 1 << 60}, False),
        ({"ROOM": 0, "MEMORY": Path("/nowhere")}, False),
    ],
)
def test_the_files_are_in_memory_where_there_is_room(monkeypatch, tmp_path, changes, given):
    for name, value in ({"MEMORY": tmp_path} | changes).items():
        monkeypatch.setattr(pace, name, value)

    assert pace.files_in_memory() == (str(tmp_path) if given else None)


def test_the_tests_files_are_in_the_folder_that_the_run_chose(tmp_path):
    chosen = pace.files_in_memory()

    assert chosen is None or tmp_path.is_relative_to(os.environ["TMPDIR"])
