"""Messages of one source that arrive together are recorded together.

Whoever comes while nobody records for its source does so at once. Whoever comes meanwhile waits for that
commit; then the first of them records all of them. So nobody waits longer than another commit takes, and
each is answered after the commit of their own message. What is not simply a new message of a source as it
was remembered is left to the receiver, which looks at it alone.
"""

import hashlib
import threading

import psycopg

from webhook.http import problems
from webhook.receiver import messages, signatures
from webhook.receiver.signatures import Signed
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.logs import log
from worker.redemption import groups, inbox
from worker.redemption.groups import Arrived

MOST_SOURCES = 4_096  # that are remembered
MOST_TOGETHER = 500


class Waiting:
    """A message that waits to be recorded, or to record those that wait with it."""

    def __init__(self, arrived: Arrived) -> None:
        self.arrived = arrived
        self.is_done = False
        self.event_id: int | None = None
        self.error: errors.DatabaseAwayError | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Wait until it is recorded, or is called to record."""
        self._gate.acquire()

    def call(self) -> None:
        """End its waiting."""
        self._gate.release()


class Source:
    """A source as it was when it was looked up, and its messages that wait."""

    def __init__(self, door: inbox.Door) -> None:
        self.door = door
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._is_recording = False

    def record(self, arrived: Arrived) -> int | None:
        """Record a message, and give its event's id; None where it was not recorded.

        Raises:
            DatabaseAwayError: the database is unreachable.
        """
        mine = Waiting(arrived)
        with self._lock:
            self._waiting.append(mine)
            follows, self._is_recording = self._is_recording, True
        if follows:
            mine.wait()
        if not mine.is_done:
            self._record_all(mine)
        if mine.error:
            raise mine.error
        return mine.event_id

    def _record_all(self, mine: Waiting) -> None:
        with self._lock:
            group = self._waiting[:MOST_TOGETHER]
            del self._waiting[:MOST_TOGETHER]
        try:
            self._record(group)
        finally:
            with self._lock:
                following = self._waiting[:1]
                self._is_recording = bool(following)
            for one in group:
                one.is_done = True
            for one in (*following, *group):
                if one is not mine:
                    one.call()

    def _record(self, group: list[Waiting]) -> None:
        first = {one.arrived.webhook_id: one for one in reversed(group)}
        arrived = [one.arrived for one in first.values()]
        try:
            with connections.connection(Login.RECEIVER) as connection:
                events = groups.record(
                    connection, self.door, arrived, tolerance=signatures.TOLERANCE
                )
        except errors.DatabaseAwayError as error:
            for one in group:
                one.error = error
        except (errors.KeypoolError, psycopg.Error) as error:
            log.warning("messages not recorded together", error=type(error).__name__)
            return  # one of them is to blame: each is looked at alone
        else:
            for webhook_id, event_id in events.items():
                first[webhook_id].event_id = event_id


_sources: dict[str, Source] = {}
_remembering = threading.Lock()


def record(source: str, signed: Signed) -> tuple[inbox.Door, int] | None:
    """Record a message of a source that is remembered: the source, and the event's id.

    None where nothing was recorded: the source is not remembered or has changed, the signature is not
    good, the message is not new, not well formed or about another organization, or its sender must wait.

    Raises:
        DatabaseAwayError: the database is unreachable.
    """
    known = _sources.get(source)
    if known is None or not signatures.fits(known.door, signed):
        return None
    try:
        message = messages.read(signed.body)
    except (problems.NotJsonError, problems.InvalidFieldsError):
        return None
    if message.organization is not None:
        return None
    body_hash = hashlib.sha256(signed.body).digest()
    event_id = known.record(Arrived(signed.webhook_id, signed.timestamp, body_hash, message))
    return None if event_id is None else (known.door, event_id)


def remember(source: str, door: inbox.Door) -> None:
    """Remember a source as it is now, by how its path names it."""
    with _remembering:
        known = _sources.get(source)
        if known and (known.door.organization_id, known.door.sealed) == (
            door.organization_id,
            door.sealed,
        ):
            return
        _sources[source] = Source(door)
        if len(_sources) > MOST_SOURCES:
            del _sources[next(iter(_sources))]
