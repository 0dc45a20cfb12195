"""Places for requests that take long: a process has few, and no organization gets all of them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker import errors


class Places:
    """How many long requests this process serves at once, of one organization at most half as many.

    The operator's, who is of none, count as one organization's.
    """

    def __init__(self, most: Callable[[], int], refusal: type[errors.BusyError]) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[int | None] = Counter()
        self._most, self._refusal = most, refusal

    @contextmanager
    def held(self, organization_id: int | None) -> Iterator[None]:
        """Hold a place for an organization.

        Raises:
            BusyError: all are taken, or that organization has its half.
        """
        self.take(organization_id)
        try:
            yield
        finally:
            self.leave(organization_id)

    def take(self, organization_id: int | None) -> None:
        """Take a place for an organization; `leave` it.

        Raises:
            BusyError: as `held`.
        """
        most = self._most()
        with self._lock:
            if self._taken.total() >= most or self._taken[organization_id] >= (most + 1) // 2:
                raise self._refusal
            self._taken[organization_id] += 1

    def leave(self, organization_id: int | None) -> None:
        """Leave a place of an organization's."""
        with self._lock:
            self._taken[organization_id] -= 1
