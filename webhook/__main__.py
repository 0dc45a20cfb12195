"""`python -m webhook`: the app, served by granian; further words are options of granian's.

The app is made once before granian forks its processes. So what is wrong with settings or database is
said once, in a sentence, instead of by each process that granian starts; and what is imported is
imported once, so that a process which is started again answers at once.
"""

import gc
import sys

from granian import cli

from webhook import create_app
from webhook.serving import Served
from worker.database import connections
from worker.errors import KeypoolError

OPTIONS = [
    "--interface=asginl",
    "--factory",
    "--http=1",
    "--no-ws",
    # For a request's first lines: 10 s and 64 KiB. Idle connections wait for theirs, too.
    "--http1-header-read-timeout=10000",
    "--http1-buffer-size=65536",
    # Open connections of a process; more wait to be accepted.
    "--backlog=2048",
    "--backpressure=2048",
    "--respawn-failed-workers",
    # A web process that gets SIGTERM while it starts misses it: granian must not wait for ever.
    "--workers-kill-timeout=10",
]


def app() -> Served:
    """Make the app, or end this process with a sentence on why there is none."""
    try:
        return Served(create_app(), watched=True)
    except KeypoolError as error:
        raise SystemExit(str(error)) from None
    finally:
        connections.dispose()  # processes are forked, and must not share them


def main() -> None:
    """Serve the app until a signal ends it."""
    app()
    gc.freeze()  # no collection goes through what was imported, and the processes share its memory
    words = [*OPTIONS, *sys.argv[1:], "webhook.__main__:app"]
    cli.cli(words, auto_envvar_prefix="GRANIAN")  # as granian's own command reads its variables


if __name__ == "__main__":
    main()
