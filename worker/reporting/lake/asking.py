"""What a query over schema "report" asks for: its views, the columns of them, the days of each.

Queries are written in PostgreSQL's SQL; sqlglot reads them and writes them for the engines that read the lake.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from worker import errors
from worker.reporting.lake import facts

if TYPE_CHECKING:
    from sqlglot import exp

# A day is in the time zone of the row's organization, and rows that belong together may be of two.
SLACK = timedelta(days=2)
# When a fact occurred.
INSTANTS = {fact.name: fact.at for fact in facts.ALL}


@dataclass(frozen=True)
class Span:
    """The first and the last day that a query needs of a view; None where it says none.

    `redeemed` is true if it wants attempts that redeemed a key, and no others.
    """

    first: date | None = None
    last: date | None = None
    redeemed: bool = False

    def widened(self, other: "Span") -> "Span":
        """Give the span that holds both."""
        firsts, lasts = (self.first, other.first), (self.last, other.last)
        return Span(
            min(filter(None, firsts)) if all(firsts) else None,
            max(filter(None, lasts)) if all(lasts) else None,
            self.redeemed and other.redeemed,
        )

    def onwards(self) -> "Span":
        """Give the span of what came of its rows."""
        return Span(self.first and self.first - SLACK)


@dataclass
class Asked:
    """A query's views of schema "report" with the days that it needs of each, and the columns that it names."""

    tree: "exp.Expr"
    spans: dict[str, Span] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)


def read(query: str) -> Asked | None:
    """Read a query; None if it is none, asks for all columns of a view, or outside schema "report".

    Raises:
        ExtraMissingError: sqlglot is not installed.
    """
    with errors.of_extra("notebooks"):
        import sqlglot
        from sqlglot import exp

    try:
        tree = sqlglot.parse_one(query, read="postgres")
    except sqlglot.errors.SqlglotError:
        return None
    if not isinstance(tree, exp.Query):
        return None
    _spell_out(tree)
    asked = Asked(tree, columns={column.name for column in tree.find_all(exp.Column)})
    for join in tree.find_all(exp.Join):
        asked.columns.update(one.name for one in join.args.get("using") or ())
    own = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.db == "report":
            span = _span(table)
            known = asked.spans.get(table.name)
            asked.spans[table.name] = known.widened(span) if known else span
        elif table.db or (table.name and table.name not in own):
            return None
    return None if any(map(_is_of_a_view, tree.find_all(exp.Star))) else asked


def _spell_out(tree: "exp.Expr") -> None:
    """Write out what PostgreSQL alone leaves out: EXISTS (SELECT FROM …), and names that follow."""
    from sqlglot import exp

    for select in tree.find_all(exp.Select):
        listed = [_named(one) for one in select.expressions] or [exp.Literal.number(1)]
        select.set("expressions", listed)
    for table in tree.find_all(exp.Table):
        alias = table.args.get("alias")
        if alias and not alias.columns and isinstance(table.this, exp.Func):
            alias.set("columns", [exp.to_identifier(alias.name)])


def _named(shown: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    inner = shown
    while isinstance(inner, exp.Cast):
        inner = inner.this
    is_cast_column = isinstance(shown, exp.Cast) and isinstance(inner, exp.Column)
    return exp.alias_(shown, inner.name) if is_cast_column else shown


def _is_of_a_view(star: "exp.Expr") -> bool:
    from sqlglot import exp

    select = star.parent
    if isinstance(select, exp.Column):
        select = select.parent
    return isinstance(select, exp.Select) and any(table.db == "report" for table in _tables(select))


def _tables(select: "exp.Select") -> "Iterator[exp.Table]":
    from sqlglot import exp

    sources = [
        select.args.get("from_") or select.args.get("from"),
        *(select.args.get("joins") or []),
    ]
    for source in sources:
        if source is not None and isinstance(source.this, exp.Table):
            yield source.this


def _span(table: "exp.Table") -> Span:
    """Find the days of a view in the conditions beside it: those on its day, or on its instant."""
    from sqlglot import exp

    select, span = table.find_ancestor(exp.Select), Span()
    where = select.args.get("where") if select else None
    if select is None or where is None or sum(one.db == "report" for one in _tables(select)) != 1:
        return span
    for part in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
        # A bare name that two tables have would be ambiguous, so it is this one's.
        if isinstance(part.this, exp.Column) and part.this.table in ("", table.alias_or_name):
            span = _narrowed(span, part, at=INSTANTS.get(table.name, ""))
    return span


def _narrowed(span: Span, condition: "exp.Expr", *, at: str) -> Span:
    from sqlglot import exp

    match condition:
        case exp.Between(this=exp.Column(name="day")):
            first, last = _date(condition.args["low"]), _date(condition.args["high"])
            return replace(span, first=first or span.first, last=last or span.last)
        case exp.LTE(this=exp.Column(name="day")):
            return replace(span, last=_date(condition.expression) or span.last)
        case exp.GTE(this=exp.Column(name=name)) if name == at and span.first is None:
            day = next(filter(None, map(_date, condition.expression.find_all(exp.Cast))), None)
            return replace(span, first=day and day - SLACK)
        case exp.EQ(this=exp.Column(name="answer"), expression=exp.Literal(this="redeemed")):
            return replace(span, redeemed=True)
    return span


def _date(expression: "exp.Expr") -> date | None:
    from sqlglot import exp

    literal = expression.find(exp.Literal)
    if (
        not isinstance(expression, exp.Cast | exp.Literal)
        or literal is None
        or expression.find(exp.Sub, exp.Add)
    ):
        return None
    try:
        return date.fromisoformat(literal.this)
    except ValueError:
        return None
