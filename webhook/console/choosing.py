"""Filter forms of lists, made from each noun's filters (`worker.database.filters`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from apiflask import APIBlueprint
from flask import request

from webhook.console import forms, words
from worker import days
from worker.database import lookup
from worker.database.filters import Criterion, ListFilters, criteria
from worker.database.paging import Paging

F = TypeVar("F", bound=ListFilters)

COUNTED = 1000  # rows up to which a list says how many it has
TYPES = {datetime: "date", timedelta: "number", int: "number", bool: "checkbox"}


@dataclass(frozen=True)
class Field:
    """A field of a filter form: its name, its input's type, and its choices."""

    name: str
    label: str
    type: str
    words: str
    longest: int
    options: Sequence[str] = ()


def install(blueprint: APIBlueprint) -> None:
    """Make the fields of filter forms available in a blueprint's templates."""
    blueprint.add_app_template_global(fields)


def chosen(filters: type[F], **fixed: Any) -> F:
    """Read a list's filters from the page's query; an empty field is no filter.

    `fixed` are filters that the page itself sets.

    Raises:
        InvalidInputError: a field's value is not valid for its filter.
    """
    asked = [one for one in criteria(filters) if one.name not in fixed]
    return filters(**fixed, **{one.name: _read(one) for one in asked})


def place(limit: int = 50, sort: str | None = None) -> Paging:
    """Read which page of a list is wanted from the page's query, and in which order: else `sort`."""
    asked = request.args
    return {
        "after": asked.get("after"),
        "before": asked.get("before"),
        "sort": asked.get("sort") or sort,
        "limit": limit,
        "counted": COUNTED,
    }


def asked(filters: ListFilters) -> dict[str, str]:
    """Write filters as a page's query, which `chosen` reads back; nothing for those not given."""
    given = ((one, getattr(filters, one.name)) for one in criteria(type(filters)))
    return {one.name: _written(one, value) for one, value in given if value != one.default}


def fields(filters: type[ListFilters], *fixed: str, **options: Sequence[str]) -> list[Field]:
    """Give the fields of a list's form, without the filters that the page itself gives.

    `options` are names to choose from, for fields that have some.
    """
    asked = [one for one in criteria(filters) if one.name not in fixed]
    return [_field(one, options.get(one.name, ())) for one in asked]


def _field(one: Criterion, options: Sequence[str]) -> Field:
    if issubclass(one.kind, StrEnum):
        options = list(one.kind)
    label = words.words(one.name).capitalize() + (" (days)" if one.kind is timedelta else "")
    return Field(one.name, label, TYPES.get(one.kind, one.typed), one.words, one.longest, options)


def _written(one: Criterion, value: Any) -> str:
    if one.kind is bool:
        return "1"
    if one.kind is datetime:
        return days.as_typed(value, words.own_zone(), end=one.name == "until")
    return str(value.days) if one.kind is timedelta else str(value)


def _read(one: Criterion) -> Any:
    value = request.args.get(one.name, "").strip()
    if one.kind is bool:
        return one.name in request.args or one.default
    if not value:
        return None
    if one.kind is datetime:
        return forms.day(one.name, request.args, end=one.name == "until")
    if one.kind is timedelta:
        return days.ahead(value, field=one.name)
    if one.kind is int:
        return forms.whole(value, field=one.name)
    if issubclass(one.kind, StrEnum):
        return lookup.label(one.kind, value, field=one.name)
    return value
