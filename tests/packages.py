"""Which packages a part of keypool brings, and processes that have those and no others."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What pyproject.toml has the lock leave out, though a package asks for it.
LEFT_OUT = {
    canonicalize_name(Requirement(line).name)
    for line in tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"][
        "uv"
    ]["override-dependencies"]
}
ABSENT = "KEYPOOL_TESTS_ABSENT"  # what tests/imaged/sitecustomize.py reads


@cache
def owners() -> Mapping[str, list[str]]:
    """Give the names of the packages that bring each module; reading what all installed takes a second."""
    return packages_distributions()


@cache
def brought_by(*extras: str) -> frozenset[str]:
    """Give the names of the packages that keypool needs with these extras, and what those need."""
    found: set[tuple[str, str]] = set()
    waiting = [("keypool", extra) for extra in ("", *extras)]
    while waiting:
        if (wanted := waiting.pop()) not in found:
            found.add(wanted)
            waiting += _needs(*wanted)
    return frozenset(name for name, _ in found)


def of_extra(extra: str) -> set[str]:
    """Give the names of the packages that an extra of keypool's asks for, and not those that they need."""
    asked = set(_needs("keypool", extra)) - set(_needs("keypool", ""))
    return {name for name, _ in asked} - {"keypool"}


def imported(modules: Iterable[str]) -> set[str]:
    """Give the names of the packages that modules come from."""
    tops = {module.partition(".")[0] for module in modules}
    return {canonicalize_name(owner) for top in tops for owner in owners().get(top, [])}


def _needs(package: str, extra: str) -> list[tuple[str, str]]:
    """Give the packages, each with an extra, that a package asks for on this machine."""
    needed = [Requirement(line) for line in distribution(package).requires or []]
    needed = [need for need in needed if canonicalize_name(need.name) not in LEFT_OUT]
    return [
        (canonicalize_name(need.name), part)
        for need in needed
        if not need.marker or need.marker.evaluate({"extra": extra})
        for part in ("", *need.extras)
    ]


def environment(*extras: str) -> dict[str, str]:
    """Give the environment of a process that can import what these extras bring, and no more."""
    present = brought_by(*extras)
    absent = [
        module
        for module, brought in owners().items()
        if not present.intersection(map(canonicalize_name, brought))
    ]
    folders = [str(Path(__file__).parent / "imaged"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, folders)), ABSENT: ",".join(absent)}
