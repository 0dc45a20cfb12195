"""Printing results, for people and as JSON.

Text from outside is escaped: it is never printed as markup or as control sequences of a terminal.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from worker.cli.fitting import Column

Shows = Callable[[Any], None]

# The width of a table whose output is not a terminal: nothing is cut.
UNBROKEN = 100_000

# A time in the detail of the history.
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")


def document(result: Any) -> None:
    """Print an object, or a list as `{"items": […], "next": …}`, as one JSON document."""
    if isinstance(result, list):
        result = {"items": result, "next": None}
    json.dump(plain(result), sys.stdout, default=_as_json, indent=2, ensure_ascii=False)
    print()


def record(result: Any, closing: str = "") -> None:
    """Print an object's fields, one below the other, and its lists as tables below.

    On a terminal a long value goes on in the next line, below its beginning.
    """
    from worker.cli.fitting import broken

    fields = plain(result)
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if not _is_list(value):
            first, *rest = broken(text(value), _room() - width - 3)
            line(f"{words(name):{width}}   {first}", *(" " * (width + 3) + more for more in rest))
    for name, value in fields.items():
        if _is_list(value):
            line("", words(name))
            _print_table(value, list(value[0]))
    if closing:
        line("", closing)


def closing(text: str) -> Shows:
    """Make a function that prints an object and a sentence after it."""
    return lambda result: record(result, text)


def letter(result: Any) -> None:
    """Print an object's fields but for its page, and below them its text as it is read."""
    fields = plain(result)
    fields.pop("html", None)
    lines = (fields.pop("text") or "").splitlines()
    record(fields)
    line("", *lines)


secret = closing("Keep the secret now: it is not shown again.")


@dataclass(frozen=True)
class Table:
    """Prints objects of one type as a table: a row for each, a column for each field that is shown.

    `of` gives the type, a TypedDict or a dataclass, when it is needed. `names` are the fields shown,
    such as `name` or `keys.issued`; if there are none, all are but those in `without`. Where a
    terminal is too narrow, those in `spare` are left out, the first first.
    """

    of: Callable[[], type]
    names: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        """Give the columns, in their order.

        Raises:
            AttributeError: the type has no such field.
        """
        kind = self.of()
        for name in (*self.names, *self.without, *self.spare):
            _field(kind, name)
        return list(self.names or (name for name in _fields(kind) if name not in self.without))

    def drawn(self, result: Any, room: int) -> "Grid | str":
        """Give a page of a list as what fits a terminal of so many columns."""
        items = plain(result)["items"]
        return grid(items, self.columns(), room, self.spare)[0] if items else "There are none."

    def __call__(self, result: Any) -> None:
        """Print a list, or a page of one."""
        page = plain(result)
        items = page["items"] if isinstance(page, Mapping) else page
        if items:
            _print_table(items, self.columns(), self.spare)
        else:
            line("There are none.")
        if isinstance(page, Mapping) and page.get("next"):
            line(f"There are more: go on with --after {page['next']}")


def table(
    of: Callable[[], type], *names: str, without: Sequence[str] = (), spare: Sequence[str] = ()
) -> Table:
    """Make what prints a list of objects of a type as a table; see `Table`."""
    return Table(of, names, tuple(without), tuple(spare))


def sentences(say: Callable[[Any], Iterable[str]]) -> Shows:
    """Make a function that prints an object as the lines that `say` gives for it."""
    return lambda result: line(*say(result))


def line(*lines: str) -> None:
    """Print lines for people."""
    for words_ in lines:
        print(_safe(words_))


def warn(sentence: str) -> None:
    """Print a line for people to standard error."""
    print(_safe(sentence), file=sys.stderr)


def counted(number: int, thing: str) -> str:
    """Write a count with its noun: `1 key`, `2,000 keys`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def words(name: str) -> str:
    """Give a field's or column's name in words."""
    return name.rpartition(".")[2].replace("_", " ")


def text(value: Any) -> str:
    """Give a value as text for people."""
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}".removesuffix(".0")  # a count: ids are texts
    if isinstance(value, str) and INSTANT.fullmatch(value):
        return text(datetime.fromisoformat(value))
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%-d %b %Y, %H:%M UTC}"
    if isinstance(value, Mapping):
        value = [f"{words(name)} {text(inner)}" for name, inner in value.items()]
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return _safe(str(value))


def plain(result: Any) -> Any:
    """Give a dataclass as its fields, and anything else as it is."""
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def _print_table(
    items: Sequence[Mapping[str, Any]], columns: Sequence[str], spare: Sequence[str] = ()
) -> None:
    from rich.console import Console

    made, left_out = grid(items, columns, _room(), spare)
    console = Console(width=UNBROKEN)  # the columns' widths are ours: it wraps nothing
    with console.capture() as printed:
        console.print(made)
    print("\n".join(row.rstrip() for row in printed.get().splitlines()))
    if left_out:
        line(f"For want of room without: {', '.join(map(words, left_out))}.")


def grid(
    items: Sequence[Mapping[str, Any]], columns: Sequence[str], room: int, spare: Sequence[str] = ()
) -> "tuple[Grid, list[str]]":
    """Lay objects out as a table that fits in `room` cells, and give the columns left out for that.

    `spare` are the columns that may be left out, the first first.
    """
    from worker.cli.fitting import Column, crowded

    texts = {name: Column(words(name), [text(_at(one, name)) for one in items]) for name in columns}
    left_out = []
    for name in spare:
        if crowded(list(texts.values()), room):
            left_out.append(name)
            del texts[name]
    numbers = {n for n in texts if any(isinstance(_at(one, n), int | Decimal) for one in items)}
    return _laid_out(texts, numbers, room), left_out


def _laid_out(columns: "Mapping[str, Column]", numbers: Collection[str], room: int) -> "Grid":
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    from worker.cli.fitting import gap, shortened, widths

    all_ = list(columns.values())
    given, between = widths(all_, room), (0, gap(all_, room) - 1, 0, 0)
    made = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=between)
    for (name, column), width in zip(columns.items(), given, strict=True):
        heading = shortened(column.heading, width)
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        made.add_column(heading, justify=justify, width=width, no_wrap=True)
    for row in zip(*(column.cells for column in all_), strict=True):
        made.add_row(*map(Text, map(shortened, row, given)))
    return made


def _room() -> int:
    """Give how many columns there are for a line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBROKEN


def _fields(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _field(kind: type, path: str) -> None:
    """Refuse a field that a type does not have."""
    for name in path.split("."):
        if name not in (known := _fields(kind)):
            raise AttributeError(f"{kind.__name__} has no {name}; it has {', '.join(known)}")
        kind = known[name]


def _at(item: Mapping[str, Any], path: str) -> Any:
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _safe(value: str) -> str:
    return "".join(symbol if symbol.isprintable() else "�" for symbol in value)


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
