"""The fronts of the mixed storms: one fault after another at each, and all fronts at once.

Faults that would spoil each other's proof share a front: one that kills a worker, and one that must
find its worker still asleep.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults import clocks, nemesis
from tests.faults.nemesis import Fault

LONG_ONES = 0.04  # of a front's faults, where it has any that take long

# What takes others along, or long to be back, comes less often than what is cured at once.
LINES = {"web": 120, "postgres": 600, "redis": 200}
POINTS = {"web": 700, "worker": 150, "beat": 1_500}
WEB = (nemesis.kill_web, *[nemesis.post_deep_json] * 3)


@dataclass(frozen=True)
class Front:
    """Faults that come one after another, on average after so many more `deliveries`.

    A busy machine has its faults more slowly, and as many for each message.
    """

    faults: Sequence[Fault]
    deliveries: int
    long: Sequence[Fault] = ()  # those that take ten seconds and more: few, so that the others come

    def choose(self, chance: random.Random) -> Fault:
        """Choose the next fault."""
        return chance.choice(
            self.long if self.long and chance.random() < LONG_ONES else self.faults
        )


def fronts(*, can_fill: bool, on_web: Sequence[Fault] = ()) -> list[Front]:
    """Give every front; `on_web` are more of the web's faults that take long."""
    clocks_of = nemesis.clocks_of if clocks.LIBRARY else lambda service: ()
    return [
        Front(nemesis.WORKERS, 500, (nemesis.sleep_past_visibility, *clocks_of("worker"))),
        Front(nemesis.BEATS, 500, (nemesis.miss_five_periods, *clocks_of("beat"))),
        Front(WEB, 700, (*on_web, *clocks_of("web"))),
        Front((*nemesis.REDIS, nemesis.queue_deep_json), 400),
        Front(nemesis.POSTGRES, 1_500),
        Front(nemesis.BULK, 500),
        *(Front(nemesis.breaks(line), rest) for line, rest in LINES.items()),
        *(Front(nemesis.crashes(service), rest) for service, rest in POINTS.items()),
        *([Front((nemesis.fill_disk,), 3_000)] if can_fill else []),
    ]
