"""The messages of a shop and a lab platform: mostly good ones, and every kind of bad one."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

from worker.client import Message, message
from worker.errors import InvalidInputError
from worker.pools import codes
from worker.simulation import names

# How many of a thousand messages are of each special kind; the rest are good.
AWKWARD = {
    "already_yours": 20,
    "already_redeemed": 20,
    "already_assigned": 10,
    "unknown_key": 10,
    "mistyped_key": 10,
    "key_retired": 5,
    "not_available_to_organization": 10,
    "pool_paused": 10,
    "pool_not_started": 10,
    "pool_expired": 10,
    "raced": 20,
    "repeated": 30,
    "launched": 100,
    "ended": 80,
    "unknown_assignment": 5,
}
REFUSED_OUTCOMES = (
    "key_retired", "pool_paused", "pool_not_started", "pool_expired",
    "not_available_to_organization",
)  # fmt: skip
WHO = ("learner", "visitor", "racer", "rival", "latecomer")
GUESSES = ("unknown_key", "mistyped_key")
AT_THE_DOOR = ("401", "409", "422")  # forged, an id used again, not a message we know
MOST_GUESSES = 200  # wrong guesses are rate limited
FEWEST = 50

# Codes not used yet, by the outcome that they lead to; under an organization's name, those of its
# own pool.
Stock = dict[str, Iterator[str]]


@dataclass(frozen=True)
class Planned:
    """A message, its expected result (an outcome, or the receiver's answer), and who redeems."""

    message: Message
    data: dict[str, Any]
    expects: str
    who: str = ""


def parts(total: int) -> Counter[str]:
    """Split the total into messages of each kind, at least one of each.

    Raises:
        InvalidInputError: the total is too small for that.
    """
    if total < FEWEST:
        raise InvalidInputError(
            f"Give {FEWEST} redemptions or more: each awkward one comes at least once.",
            field="redemptions",
        )
    shares = Counter({kind: max(1, total * share // 1000) for kind, share in AWKWARD.items()})
    for kind in GUESSES:
        shares[kind] = min(shares[kind], MOST_GUESSES)
    # A race is two messages; some more are refused by the receiver.
    shares["redeemed"] = total - shares.total() - shares["raced"] - len(AT_THE_DOOR)
    return shares


def first(shares: Counter[str], stock: Stock, organizations: list[str]) -> list[Planned]:
    """Plan the messages that depend on no others, shuffled: good ones, races, refused ones."""
    planned, visitors = _good(shares["redeemed"], stock, organizations), count()
    for kind in (*REFUSED_OUTCOMES, *GUESSES):
        for _ in range(shares[kind]):
            planned.append(_attempt(next(stock[kind]), kind, "visitor", next(visitors)))
    for n in range(shares["raced"]):
        key = next(stock["redeemed"])
        planned.append(_attempt(key, "redeemed", "racer", n))
        planned.append(_attempt(key, "already_redeemed", "rival", n))
    random.Random(len(planned)).shuffle(planned)  # noqa: S311  # no security needed
    return planned


def second(shares: Counter[str], stock: Stock, before: Iterable[Planned]) -> list[Planned]:
    """Plan messages that follow good ones: the same again, the same key, the same course."""
    learned = [one for one in before if one.who == "learner"]
    good, abroad = cycle(learned), cycle([one for one in learned if "organization" in one.data])
    planned = []
    for _, one in zip(range(shares["repeated"]), good, strict=False):
        planned.append(Planned(one.message, one.data, "repeated"))
    for _, one in zip(range(shares["already_yours"]), good, strict=False):
        planned.append(_planned("redemption.requested", one.data, "already_yours"))
    for n, one in zip(range(shares["already_redeemed"]), good, strict=False):
        planned.append(_attempt(one.data["key"], "already_redeemed", "latecomer", n))
    for _, one in zip(range(shares["already_assigned"]), abroad, strict=False):
        again = one.data | {"key": next(stock["already_assigned"])}
        planned.append(_planned("redemption.requested", again, "already_assigned"))
    return planned


def third(shares: Counter[str], assignments: Iterable[str], at: str) -> list[Planned]:
    """Plan launches and ends; some ends come before their launch."""
    held, planned = cycle(assignments), []
    for n in range(shares["launched"]):
        launch = {"assignment": next(held), "launch": f"launch-{n}", "launched_at": at}
        planned.append(_planned("training.launched", launch, "launched"))
    for n in range(shares["ended"]):
        end = {"launch": f"launch-{n}", "ended_at": at, "completed": n % 3 > 0, "score": n % 101}
        planned.append(_planned("training.ended", end, "ended"))
    for n in range(shares["unknown_assignment"]):
        launch = {"assignment": str(10**15 + n), "launch": f"lost-{n}", "launched_at": at}
        planned.append(_planned("training.launched", launch, "unknown_assignment"))
    random.Random(len(planned)).shuffle(planned)  # noqa: S311  # no security needed
    return planned


def at_the_door(before: Planned) -> list[Planned]:
    """Plan messages that the receiver refuses, in the order of AT_THE_DOOR."""
    forged = _planned("redemption.requested", before.data, AT_THE_DOOR[0])
    reused = message("redemption.requested", before.data, webhook_id=before.message.webhook_id)
    strange = _planned("redemption.wished", before.data, AT_THE_DOOR[2])
    return [forged, Planned(reused, before.data, AT_THE_DOOR[1]), strange]


def mistyped(code: str) -> str:
    """Change a generated code's last symbol."""
    last = next(s for s in codes.ALPHABET if codes.is_mistyped(code[:-1] + s))
    return code[:-1] + last


def unknown() -> Iterator[str]:
    """Make up codes that no key has."""
    return (f"NO-SUCH-KEY-{n:04}" for n in count())


def _good(number: int, stock: Stock, organizations: list[str]) -> list[Planned]:
    """Redeem keys of every open pool: four of five from the shared pool, the fifth from a workshop's."""
    planned, places = [], cycle(organizations)
    for n in range(number):
        place = next(places) if n % 5 else None
        key = next(stock["workshop"] if place is None else stock.get(place, stock["redeemed"]))
        planned.append(_attempt(key, "redeemed", "learner", n, organization=place))
    return planned


def _attempt(
    key: str, expects: str, who: str, n: int, *, organization: str | None = None
) -> Planned:
    data: dict[str, Any] = {"key": key, "learner": _learner(n * len(WHO) + WHO.index(who))}
    if organization:
        data["organization"] = organization
    return _planned("redemption.requested", data, expects, who)


def _learner(number: int) -> dict[str, str]:
    first, last, more = names.person(number)
    called = [names.FIRST[first], names.LAST[last]]
    return {
        "email": f"{'.'.join(called)}{more or ''}@harbour.example",
        "name": " ".join(called).title(),
    }


def _planned(type_: str, data: dict[str, Any], expects: str, who: str = "") -> Planned:
    return Planned(message(type_, data), data, expects, who)
