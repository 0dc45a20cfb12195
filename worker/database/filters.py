"""Filters and sorts of lists, defined once for API, command line and console.

A noun's `Filters` is a frozen dataclass with a field for each filter, made by `by`. The doors derive
their query parameters, options and forms from it, and pass an instance to the domain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, ClassVar, get_args, get_type_hints

from sqlalchemy import ColumnElement
from sqlalchemy.orm import QueryableAttribute

MADE = "made"  # the default order of every list: by its unique id, that is, by creation
Sorts = Mapping[str, QueryableAttribute[Any] | ColumnElement[Any]]
NO_SORTS: Sorts = MappingProxyType({})
LONGEST_TEXT = 200  # characters in a text


@dataclass(frozen=True)
class ListFilters:
    """Which rows of a list are wanted; all, if no filter is given."""

    sorts: ClassVar[Sorts] = NO_SORTS  # sorts besides the order of creation
    sorting: ClassVar[str] = ""  # which of them need a filter, in words


@dataclass(frozen=True)
class Criterion:
    """A filter as the doors need it: its name, its type, and what it selects, in words.

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
    longest: int = LONGEST_TEXT,
    typed: str = "text",
    otherwise: str | None = None,
) -> Any:
    """Make the field of a filter, as its default in the class's body."""
    about = {"words": words, "longest": longest, "typed": typed, "otherwise": otherwise}
    return field(default=default, metadata=about)


def criteria(filters: type[ListFilters]) -> Sequence[Criterion]:
    """Give a list's filters in the order of their declaration."""
    return _criteria(filters)  # type: ignore[arg-type]  # a class is hashable: mypy asks its instances


@cache  # resolving annotations takes longer than many a query
def _criteria(filters: type[ListFilters]) -> Sequence[Criterion]:
    kinds = get_type_hints(filters)
    return tuple(
        Criterion(one.name, _kind(kinds[one.name]), one.default, **one.metadata)
        for one in fields(filters)
    )


def orders(filters: type[ListFilters]) -> list[str]:
    """Give the sorts of a list; “-” in front means descending."""
    return [sign + name for name in (MADE, *filters.sorts) for sign in ("", "-")]


def ordering(filters: type[ListFilters]) -> str:
    """Say how a list is sorted."""
    return f"{filters.sorting} “-” in front: the other way round.".strip()


def _kind(annotation: Any) -> type:
    """Give the type of a filter without its None: KeyState for `KeyState | None`."""
    [kind] = [one for one in get_args(annotation) or [annotation] if one is not NoneType]
    return kind  # type: ignore[no-any-return]  # a filter's type is a class
