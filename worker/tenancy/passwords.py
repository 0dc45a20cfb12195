"""Passwords: argon2 hashes, made so that no hash has to leave the database."""

import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from argon2 import PasswordHasher
from argon2.low_level import ARGON2_VERSION, Type, hash_secret
from zxcvbn import zxcvbn

from worker import errors

SHORTEST, LONGEST = 12, 200  # characters of a password
SALT = re.compile(r"\$argon2id\$v=(\d+)\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$")
GUESSED = 72  # characters that are judged; longer ones take zxcvbn long
LEAST_SCORE = 2  # of zxcvbn's 0 to 4: over a million guesses
SALT_BYTES, HASH_BYTES = 16, 32
# In one process. A hash takes 64 MiB and a processor for a while; who waits for one has a thread.
MOST_HASHED, MOST_WAITING = 4, 8

_hashing = threading.BoundedSemaphore(MOST_HASHED)
_admitted = threading.BoundedSemaphore(MOST_HASHED + MOST_WAITING)


def hashed(password: str, *, about: str) -> str:
    """Hash a new password of the user with an address, with a salt of its own.

    It is slow by design: call it outside of any transaction.

    Raises:
        InvalidInputError: it is too short or too long, or among the first that are guessed.
        BusyError: as `hashed_alike`.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise errors.InvalidInputError(
            f"A password has {SHORTEST} to {LONGEST} characters.", field="password"
        )
    _refuse_common(password, about)
    with _turn():
        return _hasher().hash(password)


def manner() -> str:
    """Give how new passwords are hashed: what comes before the salt."""
    new = _hasher()
    return (
        f"$argon2id$v={ARGON2_VERSION}$m={new.memory_cost},t={new.time_cost},p={new.parallelism}$"
    )


def hashed_alike(password: str, salt: str) -> str:
    """Hash a password as another was: the same hash says that it is the same password.

    It is slow by design: call it outside of any transaction.

    Raises:
        BusyError: four are hashed at this moment, and as many wait as may.
    """
    version, memory, passes, lanes, chars = SALT.fullmatch(salt).groups()  # type: ignore[union-attr]  # argon2 wrote it
    with _turn():
        made = hash_secret(
            password.encode(),
            b64decode(chars + "=" * (-len(chars) % 4)),
            time_cost=int(passes),
            memory_cost=int(memory),
            parallelism=int(lanes),
            hash_len=HASH_BYTES,
            type=Type.ID,
            version=int(version),
        )
    return made.decode()


@contextmanager
def _turn() -> Iterator[None]:
    if not _admitted.acquire(blocking=False):
        raise errors.BusyError
    try:
        with _hashing:
            yield
    finally:
        _admitted.release()


def _refuse_common(password: str, about: str) -> None:
    """Refuse a password that the first million guesses find: common ones, dates, rows of keys."""
    known = ["keypool", about, *about.split("@")]
    if zxcvbn(password[:GUESSED], user_inputs=known)["score"] < LEAST_SCORE:
        raise errors.InvalidInputError(
            "That password is among the first that are guessed; choose another, such as four words.",
            field="password",
        )


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher(salt_len=SALT_BYTES, hash_len=HASH_BYTES)
