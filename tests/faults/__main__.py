"""All faults mixed, for hours: `make faults HOURS=2`. Prints its seed, and counts as it goes."""

import argparse
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import clocks, disk, mails
from tests.faults.mixed import Storm, until
from tests.faults.system import beside, running_system

KEYS = 6_000  # a round; a third of their messages come again, a tenth of the keys are raced for
RATE = 1_000  # messages a second at most
PACE = 0.3  # of what the full storms take their time for
VISIBILITY = 15  # seconds
TREES = 3  # organization trees beside the first


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
        with (
            disk.small(home) as limited,
            mails.post(chance) as post,
            running_system(
                home,
                workers=2,
                beats=2,
                proxied=True,
                pace=PACE,
                visibility=VISIBILITY,
                post=post,
                trees=TREES,
            ) as system,
        ):
            if not limited:
                print("No disk gets full: tmpfs cannot be mounted here.")
            if clocks.LIBRARY is None:
                print("No clock goes wrong: libfaketime is not installed.")
            storm = Storm(system, chance, keys=KEYS, rate=RATE)
            try:
                storm.rage(going_on=until(time.monotonic() + given.hours * 3600))
            except Exception:
                traceback.print_exc()
                print(f"FAILED: what was there is kept in {kept(home)}", file=sys.stderr)
                return 1
            print("\n".join(f"{count:7,} {name}" for name, count in storm.counts.most_common()))
            print(f"{storm.deaths():7,} died of a poison message")
    return 0


def kept(home: Path) -> str:
    """Copy the logs, the database and the harness's own files to where they stay."""
    there = tempfile.mkdtemp(prefix="keypool-failed-")
    subprocess.run(["cp", "--archive", str(home), str(beside(home)), there], check=False)
    return there


if __name__ == "__main__":
    sys.exit(main())
