"""Parameters of a notebook: those that its cell tagged “parameters” names, with their defaults."""

import ast
from collections.abc import Mapping
from typing import Any

from worker import errors

Value = str | int | float | bool | None
Values = dict[str, Value]

TAG = "parameters"
EVERYONES = ("organization", "from_", "to")  # of each report, which has its own options for them
TRUTHS = {"true": True, "false": False}


def declared(notebook: Mapping[str, Any]) -> Values:
    """Give the parameters of a notebook beside those of each report: names and defaults.

    Those whose default is no text, number, True, False or None are left out.
    """
    found: Values = {}
    for cell in notebook["cells"]:
        if TAG in cell.get("metadata", {}).get("tags", []):
            found |= _assigned("".join(cell["source"]))
    return {name: value for name, value in found.items() if name not in EVERYONES}


def taken(given: Mapping[str, Value], *, known: Values, notebook: str) -> Values:
    """Check the parameters that somebody gave, and give them as the notebook takes them.

    A text is read as what the default is: a number, true or false.

    Raises:
        InvalidInputError: the notebook has no such parameter, or it is of another type.
    """
    return {name: _taken(name, value, known, notebook) for name, value in given.items()}


def split(pairs: Mapping[int, str]) -> dict[str, str]:
    """Read `name=value` pairs, each with its line number.

    Raises:
        InvalidInputError: a line is no pair, or names a parameter again.
    """
    read: dict[str, str] = {}
    for line, pair in pairs.items():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or name.strip() in read:
            why = "names it again" if equals and name.strip() else "is no name=value"
            raise errors.InvalidInputError(
                f"Parameter {line}, “{pair}”, {why}.", field="parameters"
            )
        read[name.strip()] = value.strip()
    return read


def _assigned(source: str) -> Values:
    try:
        lines = ast.parse(source).body
    except SyntaxError:
        return {}
    found: Values = {}
    for line in lines:
        if isinstance(line, ast.Assign) and isinstance(target := line.targets[0], ast.Name):
            try:
                value = ast.literal_eval(line.value)
            except ValueError:
                continue
            if value is None or isinstance(value, str | int | float):
                found[target.id] = value
    return found


def _taken(name: str, value: Value, known: Values, notebook: str) -> Value:
    if name not in known:
        others = f"it has {', '.join(known)}" if known else "it has none of its own"
        raise errors.InvalidInputError(
            f"The notebook “{notebook}” has no parameter “{name}”; {others}.", field="parameters"
        )
    default = known[name]
    if default is None or value is None:
        return value
    try:
        return _like(default, value)
    except (ValueError, KeyError):
        raise errors.InvalidInputError(
            f"“{value}” is not of the kind of “{name}”, which is {default!r} by default.",
            field="parameters",
        ) from None


def _like(default: str | int | float | bool, value: str | int | float | bool) -> Value:
    if isinstance(default, bool):
        return TRUTHS[str(value).lower()]
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(default, int):
        return int(str(value))
    return float(value) if isinstance(default, float) else str(value)
