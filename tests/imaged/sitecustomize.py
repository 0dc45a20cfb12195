"""Python imports this at its start, where PYTHONPATH names this folder: some packages are absent then."""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

ABSENT = frozenset(os.environ.get("KEYPOOL_TESTS_ABSENT", "").split(","))


class Finder(PathFinder):
    """Finds what Python finds, but nothing of what is to be absent."""

    @classmethod
    def find_spec(cls, name: str, *where: Any) -> ModuleSpec | None:
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, *where)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
