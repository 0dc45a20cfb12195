"""Writing what DuckDB is asked in Spark's SQL: sqlglot does it, but for the words below.

A question comes in PostgreSQL's SQL, a view in DuckDB's; both are trees here.
"""

from collections.abc import Callable
from itertools import chain

import sqlglot
from sqlglot import ErrorLevel, exp

NEVER = "9999-12-31"  # Spark has no infinity
EXACT = "DECIMAL(38, 10)"  # PostgreSQL's numeric
CHOSEN = "DECIMAL(18, 6)"  # one of several decimals: Spark gives it as a float

Rule = Callable[[exp.Expr], exp.Expr | None]


def translated(text: str) -> str:
    """Write DuckDB's SQL in Spark's.

    Raises:
        UnsupportedError: Spark has no words for it (sqlglot's).
    """
    return written(sqlglot.parse_one(text, read="duckdb"))


def written(query: exp.Expr) -> str:
    """Write a query that sqlglot read in Spark's SQL.

    Raises:
        UnsupportedError: Spark has no words for it (sqlglot's).
    """
    tree = exp.Paren(this=query.copy())  # so that each part is in another
    for kind, rule in RULES:
        # The inner ones first: a rule moves what is in it.
        for node in reversed(list(tree.find_all(*kind))):
            if (other := rule(node)) is not None:
                node.replace(other)
    asked: exp.Expr = tree.this
    return asked.sql(dialect="spark", unsupported_level=ErrorLevel.RAISE)


def plain(name: str) -> str:
    """Give the name of a view of schema "report" here: one for a session alone has no schema."""
    return name.replace("report.", "report_")


def _view(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node, exp.Table) or node.db != "report":
        return None
    return exp.to_table(f"report_{node.name}").as_(node.alias_or_name, table=True)


def _function(node: exp.Expr) -> exp.Expr | None:
    return node.expression if isinstance(node.expression, exp.Anonymous) else None


def _unhinted(node: exp.Expr) -> None:
    """Leave it to Spark whether a part is computed once."""
    node.set("materialized", None)


def _rows(node: exp.Expr) -> exp.Expr | None:
    """Have a series, or what is in an array, be rows of a subquery: Spark makes them after SELECT alone."""
    made = node.this if isinstance(node, exp.Table | exp.Lateral) else node
    match made:
        case exp.ExplodingGenerateSeries():
            array = _series(**made.args)
        case exp.Unnest(expressions=[array]):
            pass
        case _:
            return None
    alias = node.args["alias"].this
    rows = exp.select(
        exp.alias_(exp.Anonymous(this="explode", expressions=[array]), alias)
    ).subquery()
    if isinstance(node.parent, exp.From):
        return rows.as_(alias, table=True)
    return exp.Lateral(this=rows, alias=exp.TableAlias(this=alias.copy()))


def _listed(node: exp.Expr) -> exp.Expr | None:
    """Have rows that are listed beside each row be made of an array: VALUES takes constants alone."""
    values = node.this.unnest()
    if not isinstance(values, exp.Values):
        return None
    alias = node.args["alias"]
    names = [exp.Literal.string(column.name) for column in alias.columns]
    rows = [
        exp.Anonymous(
            this="named_struct",
            expressions=list(chain.from_iterable(zip(names, row.expressions, strict=True))),
        )
        for row in values.expressions
    ]
    made = exp.Anonymous(this="inline", expressions=[exp.array(*rows)])
    return exp.Lateral(this=exp.select(made).subquery(), alias=exp.TableAlias(this=alias.this))


def _series(start: exp.Expr, end: exp.Expr, step: exp.Expr | None = None) -> exp.Expr:
    """Give a series as an array; none where it ends before it begins, which Spark refuses."""
    series = exp.GenerateSeries(start=start.copy(), end=end.copy(), step=step and step.copy())
    return exp.case().when(exp.LTE(this=start, expression=end), series).else_(exp.array())


def _ordered(node: exp.Expr) -> exp.Expr | None:
    """Have rows be ordered by a sum outside, where a window is: Spark knows such a sum no more then."""
    if not isinstance(node, exp.Select):
        return None
    order = node.args.get("order")
    sums = list(order.find_all(exp.AggFunc)) if order else []
    if not sums or not any(one.find(exp.Window) for one in node.args["expressions"]):
        return None
    shown = [exp.column(name) for name in node.named_selects]
    node.set("order", None)
    for number, summed in enumerate(sums):
        name = f"order_{number}"
        summed.replace(exp.column(name))
        node.args["expressions"].append(exp.alias_(summed, name))
    outer = exp.select(*shown).from_(exp.Subquery(this=node.copy(), alias="summed"))
    outer.set("order", order)
    return outer


def _zoned(node: exp.Expr) -> exp.Expr:
    """Say which way a time goes: an instant to a place's time, or back. All are in UTC here."""
    is_instant = any(
        (isinstance(part, exp.Cast) and part.to.this is exp.DType.TIMESTAMPTZ)
        or (isinstance(part, exp.Column) and part.name.endswith("_at"))
        for part in node.this.walk()
    )
    way = "from_utc_timestamp" if is_instant else "to_utc_timestamp"
    return exp.Anonymous(this=way, expressions=[node.this, node.args["zone"]])


def _seconds(node: exp.Expr) -> exp.Expr | None:
    between = node.expression.unnest()
    if node.name.upper() != "EPOCH" or not isinstance(between, exp.Sub):
        return None
    ends = [exp.Anonymous(this="unix_micros", expressions=[end]) for end in between.args.values()]
    micros = exp.Paren(this=exp.Sub(this=ends[0], expression=ends[1]))
    return exp.Paren(this=exp.Div(this=micros, expression=exp.Literal.number(1_000_000)))


def _never(node: exp.Expr) -> exp.Expr | None:
    if not node.is_string or node.name != "infinity":
        return None
    end = exp.Literal.string(NEVER)
    return end if isinstance(node.parent, exp.Cast) else exp.cast(end, "timestamptz")


def _chosen(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node.this, exp.PercentileDisc):
        return None
    share = exp.Anonymous(this="percentile_disc", expressions=[node.this.this])
    return exp.cast(exp.WithinGroup(this=share, expression=node.expression), CHOSEN)


def _exact(node: exp.Expr) -> None:
    kind = node.args["to"]
    if kind.this is exp.DType.DECIMAL and not kind.expressions:
        node.set("to", exp.DataType.build(EXACT))


def _quotient(node: exp.Expr) -> None:
    """Have a quotient be a float, as in DuckDB."""
    node.set("this", exp.cast(node.this, "double"))


RULES: tuple[tuple[tuple[type[exp.Expr], ...], Rule], ...] = (
    ((exp.Table,), _view),
    ((exp.Dot,), _function),
    ((exp.CTE,), _unhinted),
    ((exp.Literal,), _never),
    ((exp.Table, exp.Unnest, exp.Lateral), _rows),
    ((exp.Lateral,), _listed),
    ((exp.Select,), _ordered),
    ((exp.AtTimeZone,), _zoned),
    ((exp.Extract,), _seconds),
    ((exp.WithinGroup,), _chosen),
    ((exp.Cast,), _exact),
    ((exp.Div,), _quotient),
)
