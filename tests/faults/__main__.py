"""All faults mixed, for hours: `make faults HOURS=2`. Prints its seed, and counts as it goes."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults import nemesis
from tests.faults.checker import check, told, wait_until_settled
from tests.faults.senders import History, post_all, redemption
from tests.faults.system import System, running_system

ALL = (
    *nemesis.PROCESSES,
    *nemesis.REDIS,
    *nemesis.POSTGRES,
    *nemesis.LINES,
    *nemesis.POINTS,
)
ROUND = 1_000  # keys; a third of the messages come again, a tenth of the keys are raced for
RATE = 60  # messages a second


def mixed(system: System, chance: random.Random, *, seconds: float) -> Counter[str]:
    """Let faults happen while messages flow, checking after each round; gives counts."""
    counts, history = Counter[str](), History()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sending = post_all(
            system,
            messages(system, chance),
            per_second=RATE,
            skews=(-240, 0, 240),
            history=history,
            port=system.lines["web"].port,
        )
        while len(sending.waiting) > ROUND // 4:  # whoever waits at a crash point needs traffic
            fault = chance.choice(ALL)
            try:
                fault(system, chance)
            except nemesis.MissedError:
                counts["missed"] += 1  # said, and not counted among the faults
                continue
            counts["faults"] += 1
            counts[fault.__name__] += 1
        sending.join()
        wait_until_settled()
        counts.update({"rounds": 1})
        told(f"missed {counts['missed']}", faults=counts["faults"], history=history)
        check(history, folder=system.folder)
    return counts


def messages(system: System, chance: random.Random) -> list:
    """Make a round's messages: repeated, raced for, and out of order."""
    keys = system.add_keys(ROUND)
    once = [redemption(key, f"mixed-{key.lower()}@example.org") for key in keys]
    raced = [
        redemption(key, f"{racer}-{key.lower()}@example.org")
        for key in chance.sample(keys, ROUND // 10)
        for racer in range(4)
    ]
    made = [*once, *raced, *chance.sample(once, ROUND // 3)]
    chance.shuffle(made)
    return made


def main() -> int:
    """Run, and exit 1 at the first thing that is lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"FAULTS_SEED={given.seed}", flush=True)
    chance = random.Random(given.seed)  # noqa: S311  # to be repeated, not secret
    with tempfile.TemporaryDirectory(prefix="keypool-faults-") as folder:
        home = Path(folder) / "home"
        with running_system(home, workers=2, beats=2, proxied=True) as system:
            try:
                counts = mixed(system, chance, seconds=given.hours * 3600)
            except AssertionError as wrong:
                print(f"FAILED: {wrong}", file=sys.stderr)
                return 1
    print("\n".join(f"{count:7,} {name}" for name, count in counts.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
