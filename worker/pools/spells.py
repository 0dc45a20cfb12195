"""Spells in which a pool is unusual against its own past."""

from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from sqlalchemy import func, select
from typing_extensions import TypedDict

from worker.tables.labels import UnusualRule
from worker.tables.pools import Pool, PoolUnusual


class UnusualShape(TypedDict):
    """What is unusual about a pool against its own past: figures of 24 hours."""

    rule: UnusualRule
    """The rule: a sudden pace, strangers, or keys that several people share."""
    message: str
    """What was seen and what is usual, in a sentence."""
    seen: int
    """How many the rule counts."""
    among: int | None
    """Of how many, where that is a share; else null."""
    usual: float
    """How many there were on a mean day before, or their share."""
    most: int | None
    """How many there were on the highest day before; null for a share."""
    began_at: datetime
    """Since when it is so."""


COLUMNS = (
    PoolUnusual.rule,
    PoolUnusual.seen,
    PoolUnusual.among,
    PoolUnusual.usual,
    PoolUnusual.most,
    PoolUnusual.began_at,
)
# The spells that go on, each as an object.
UNUSUAL = (
    select(
        func.json_agg(
            func.json_build_object(*chain.from_iterable((one.key, one) for one in COLUMNS)),
        )
    )
    .where(PoolUnusual.pool_id == Pool.id, PoolUnusual.ended_at.is_(None))
    .scalar_subquery()
)


def shape(spell: dict[str, Any]) -> UnusualShape:
    """Give a spell's public fields."""
    # Babel takes longer to import than a short command may; few pools are unusual.
    from worker.languages import unusual
    from worker.languages.phrasebooks import phrasebook

    figures = {name: spell[name] for name in ("rule", "seen", "among", "most")}
    usual = Decimal(str(spell["usual"]))
    return {
        "rule": UnusualRule(spell["rule"]),
        "message": unusual.sentence(phrasebook("en"), usual=usual, **figures),
        "seen": spell["seen"],
        "among": spell["among"],
        "usual": round(float(usual), 3),
        "most": spell["most"],
        "began_at": datetime.fromisoformat(spell["began_at"]),
    }
