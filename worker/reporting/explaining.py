"""What stands behind a figure of a page: its definition, and the SQL with which an analyst goes on."""

import html
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker import errors
from worker.reporting import dictionary, question, reading
from worker.reporting.dictionary import ColumnShape
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd

LITERAL = re.compile(r"'(?:[^']|'')*'")
VIEW = re.compile(r"\breport\.(\w+)\b(?!\s*\()")


@dataclass(frozen=True)
class Explanation:
    """A figure's definition, the columns of schema `report` that it reads, and its queries."""

    name: str
    definition: str
    columns: list[ColumnShape]
    queries: list[str]

    def __str__(self) -> str:
        means = [f"report.{c['view']}.{c['column']}: {c['comment']}" for c in self.columns]
        return "\n\n".join([f"{self.name}: {self.definition}", "\n".join(means), *self.queries])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>report.{c['view']}</td><td>{c['column']}</td><td>{html.escape(c['comment'])}</td></tr>"
            for c in self.columns
        )
        asked = "".join(f"<pre>{html.escape(query)}</pre>" for query in self.queries)
        return (
            f"<p><strong>{html.escape(self.name)}</strong>: {html.escape(self.definition)}</p>"
            f"<table><tbody>{rows}</tbody></table>{asked}"
        )


def explain(
    figure: "str | Callable[[Question], object] | pd.DataFrame", about: Question | None = None
) -> Explanation:
    """Explain a figure: what it means, from which columns it is made, and by which SQL.

    A figure is a function of this package or its name, such as `reporting.funnel` or `"draw_funnel"`: it is
    asked about the last question, or `about` another. Or it is a frame that such a function gave.

    Raises:
        InvalidInputError: there is no such figure, or no question was asked yet.
    """
    if not (isinstance(figure, str) or callable(figure)):
        query = figure.attrs.get("query")
        if query is None:
            raise errors.InvalidInputError(
                "This frame was not read by reporting: name its function."
            )
        return _explained("frame", "The rows of this query.", [query])
    function = _named(figure) if isinstance(figure, str) else figure
    with reading.listening() as heard:
        function(about or question.latest())
    return _explained(function.__name__, inspect.getdoc(function) or "", list(heard))


def _named(name: str) -> Callable[[Question], object]:
    package = sys.modules[__package__ or ""]
    if name not in package.__all__ or not inspect.isfunction(getattr(package, name)):
        raise errors.InvalidInputError(
            f"There is no figure “{name}”: name a function of reporting."
        )
    function: Callable[[Question], object] = getattr(package, name)
    return function


def _explained(name: str, definition: str, queries: list[str]) -> Explanation:
    shown = [textwrap.dedent(query).strip() for query in queries]
    return Explanation(name, definition, _columns("\n".join(shown)), shown)


def _columns(queries: str) -> list[ColumnShape]:
    """Give the columns that queries name, of the views that they read."""
    bare = LITERAL.sub("", queries)
    views, words = set(VIEW.findall(bare)), set(re.findall(r"\w+", bare))
    listed: list[ColumnShape] = reading.frame(dictionary.COLUMNS.text).to_dict("records")  # type: ignore[assignment]
    return [c for c in listed if c["view"] in views and c["column"] in words]
