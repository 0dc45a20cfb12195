"""An input comes to the same, whether it is only tried, added at once, or in chunks (K5)."""

import io
import random
from typing import Any

import pytest

from tests.world import OPERATOR, World
from worker.pools import batches, distributions, importing, keys

# Keys that nothing else on their line makes invalid, each in two spellings or more.
SPELLED = [
    f"{letters}{sign}{n:04}" for letters in ("AAAA", "aaaa") for sign in "-_" for n in range(6)
]
# What is unlike those, unless somebody has it as a key already; and what never is one.
OTHERS = ["AAAA0001", "aaaa0002", "ODD-KEY-12345", "odd key 12345", "ABCDEFGHIJ", "abcdefghij"]
NEVER = ["bad", "", "2026-01-02", "1. AAAA-0003", '"AAAA-0005', "ÄÄÄÄ-0001"]
OWNERS = ["", "a@example.org", "A@example.org", "b@example.org", "b@"]


def table(chance: random.Random) -> str:
    """Make a table in which many keys come several times."""
    usual = [f"BBBB-{n:04}" for n in range(chance.choice([5, 40]))]
    lines = usual + [chance.choice([*SPELLED, *OTHERS, *NEVER]) for _ in range(30)]
    chance.shuffle(lines)
    if chance.random() < 0.5:
        return "\n".join(lines)
    rows = [f"{line},{chance.choice(OWNERS)},{chance.choice(['', 'O-1'])}" for line in lines]
    return "\n".join(["key,email,order", *rows])


def read(world: World, content: str, *, dry_run: bool = False) -> tuple[Any, ...]:
    """Read a table's keys in a transaction that is undone; give what it came to."""
    about = {"actor": OPERATOR, "pool": world.pool, "stream": io.BytesIO(content.encode())}
    undone = world.session.begin_nested()
    report = keys.import_keys(world.session, dry_run=dry_run, **about)
    if report["batch"]:
        while batches.work_chunk(world.session) is not None:
            pass
        report = batches.report(world.session, actor=OPERATOR, batch=report["batch"])
    listed = distributions.listing(world.session, actor=OPERATOR, pool=world.pool).items
    held = sorted((item["recipient"], item["reference"], item["given"]) for item in listed)
    undone.rollback()
    counts = {name: value for name, value in report.items() if name not in ("batch", "refused")}
    return counts, [(line["line"], line["code"]) for line in report["refused"]], held


@pytest.mark.parametrize("seed", range(25))
def test_a_table_comes_to_the_same_tried_at_once_and_in_chunks(world, monkeypatch, seed):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    known = chance.sample(["AAAA-0001", "AAAA-0003", "ODD-KEY-12345", "ABCDEFGHIJ"], 2)
    keys.add_keys(world.session, actor=OPERATOR, pool=world.pool, codes=known)
    content = table(chance)

    at_once = read(world, content)
    tried = read(world, content, dry_run=True)
    monkeypatch.setattr(keys, "AT_ONCE", 0)
    monkeypatch.setattr(importing, "LINES_PER_CHUNK", chance.choice([3, 7, 1000]))
    in_chunks = read(world, content)

    assert at_once == in_chunks
    assert at_once[:2] == tried[:2]
    assert all(given for *_, given in at_once[2])
