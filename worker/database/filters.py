"""What a list can be asked for: filters and sorts, named once for API, command line and console.

A noun's `Filters` is a frozen dataclass with a field for each filter, made by `by`. The doors make
their queries, options and forms of it, and give the domain one that is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType, NoneType
from typing import Any, ClassVar, get_args, get_type_hints

from sqlalchemy.orm import QueryableAttribute

MADE = "made"  # every list's own order: by the one unique id, which is given as a row is made
Sorts = Mapping[str, QueryableAttribute[Any]]
NO_SORTS: Sorts = MappingProxyType({})
LONGEST = 200  # characters of a text


@dataclass(frozen=True)
class ListFilters:
    """Which rows of a list are wanted: all of them, where no filter is given."""

    sorts: ClassVar[Sorts] = NO_SORTS  # by what it can be sorted besides the order of making


@dataclass(frozen=True)
class Criterion:
    """A filter as the doors need to know it: its name, its type, and what it chooses in words.

    A text has up to `longest` characters, and pages ask for it by an input that is `typed` so (an
    HTML input's type). `otherwise` is what the command line calls the opposite of a filter that is
    true, false or not given.
    """

    name: str
    kind: type
    default: object
    words: str
    longest: int
    typed: str
    otherwise: str | None


def by(
    words: str,
    *,
    default: object = None,
    longest: int = LONGEST,
    typed: str = "text",
    otherwise: str | None = None,
) -> Any:
    """Make a filter's field, as a default in the class's body; by default it is not given."""
    about = {"words": words, "longest": longest, "typed": typed, "otherwise": otherwise}
    return field(default=default, metadata=about)


def criteria(filters: type[ListFilters]) -> list[Criterion]:
    """Give a list's filters, in the order in which they are declared."""
    kinds = get_type_hints(filters)
    return [
        Criterion(one.name, _kind(kinds[one.name]), one.default, **one.metadata)
        for one in fields(filters)
    ]


def orders(filters: type[ListFilters]) -> list[str]:
    """Give what a list can be sorted by; “-” in front is the other way round."""
    return [sign + name for name in (MADE, *filters.sorts) for sign in ("", "-")]


def _kind(annotation: Any) -> type:
    """Give what a filter takes where it is given: of `KeyState | None`, KeyState."""
    [kind] = [one for one in get_args(annotation) or [annotation] if one is not NoneType]
    return kind  # type: ignore[no-any-return]  # a filter's type is a class
