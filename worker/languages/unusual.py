"""What is said of a pool that is unusual against its own past: a sentence for each rule, with its numbers."""

from collections.abc import Mapping
from decimal import Decimal

from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase

SENTENCES: Mapping[str, str] = {
    "sudden_pace": phrase(
        "Sudden pace: {seen} keys were redeemed in 24 hours. Before, it was {usual} a day, and {most} at most."
    ),
    "strangers": phrase(
        "Strangers: of {among} keys that had been distributed to an address and were redeemed in 24 hours,"
        " {seen} ({share}) were redeemed by somebody else. Before, it was {usual}."
    ),
    "shared_keys": phrase(
        "Shared keys: {seen} times in 24 hours somebody tried a key that somebody else had redeemed."
        " Before, it was {usual} times a day, and {most} at most."
    ),
}


def sentence(
    book: Phrasebook, *, rule: str, seen: int, usual: Decimal, among: int | None, most: int | None
) -> str:
    """Say by which rule a pool is unusual, what was seen and what is usual; `usual` as the table has it."""
    if among is not None:
        said = {"share": _percent(book, Decimal(seen) / among), "usual": _percent(book, usual)}
        return book.say(SENTENCES[rule], seen=book.number(seen), among=book.number(among), **said)
    mean = book.number(usual.quantize(Decimal("0.1")))
    highest = book.number(most or 0)
    return book.say(SENTENCES[rule], seen=book.number(seen), usual=mean, most=highest)


def _percent(book: Phrasebook, share: Decimal) -> str:
    return book.percent((100 * share).quantize(Decimal(1)))
