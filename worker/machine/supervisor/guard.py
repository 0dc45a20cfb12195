"""A shell that outlives a killed supervisor, to end the processes it would leave behind."""

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, cast

# A service's shell reports its own id to the guard before it execs the service. If the supervisor
# reported it, a kill in between would leave a service that the guard does not know.
LAUNCHER = ("/bin/sh", "-c", 'echo "+ $$" >&0; exec "$@" </dev/null', "sh")

# Reads until the pipe's other end is closed, then ends the remaining groups: SIGTERM to the leader
# of each, which stops its children itself, and SIGKILL to all half a minute later.
GUARD = """
groups=' '
while read -r change group; do
    case $change in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s TERM "$group"; done
tenths=0
while [ $((tenths += 1)) -le 300 ]; do
    left=
    for group in $groups; do kill -s 0 "$group" && left=some; done
    [ "$left" ] || break
    sleep 0.1
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class Guard:
    """The shell, and the pipe that tells it which process groups there are."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None

    def pipe(self) -> IO[bytes]:
        """Give the pipe that a service's shell gets as its standard input."""
        if self._shell is None:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", GUARD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # a pipe of ours would stay open
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        return cast(IO[bytes], self._shell.stdin)

    def forget(self, group: int) -> None:
        """Tell the guard that a group is gone."""
        self._say("-", group)

    def replace_if_dead(self, groups: Iterable[int]) -> None:
        """Start a new guard if the old one died, and tell it the process groups."""
        if self._shell and self._shell.poll() is not None:
            self.dismiss()
            for group in groups:
                self._say("+", group)

    def dismiss(self) -> None:
        """End the guard: there is no group left."""
        if self._shell:
            with suppress(BrokenPipeError):
                self.pipe().close()
            self._shell.wait()
            self._shell = None

    def _say(self, change: str, group: int) -> None:
        with suppress(BrokenPipeError):
            self.pipe().write(f"{change} {group}\n".encode())
