"""The key that a typed code means (K4): one statement finds those of many codes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    bindparam,
    column,
    func,
    select,
    true,
)

from worker.tables.pools import Key, Pool

# Typed codes, by position from 1, and the key that each means.
TYPED = (
    func.unnest(bindparam("typed", type_=ARRAY(Text)))
    .table_valued(column("code", Text), with_ordinality="place", name="typed")
    .render_derived()
)
MEANT = func.meant_key(func.canonical_code(TYPED.c.code)).table_valued(
    column("id", BigInteger), name="meant"
)


def meant_by(typed: Sequence[str], *what: Any, within: ColumnElement[bool]) -> Select[Any]:
    """Select columns of the keys that codes mean, among the keys or pools that `within` allows.

    `TYPED.c.place` is the position of the code that means a key.
    """
    return (
        select(*what)
        .select_from(TYPED)
        .join(MEANT, true())
        .join(Key, Key.id == MEANT.c.id)
        .join(Pool, Pool.id == Key.pool_id)
        .where(within)
        .params(typed=list(typed))
    )
