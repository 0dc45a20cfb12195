"""How many passwords are hashed at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.waiting import eventually
from worker import errors
from worker.tenancy import passwords

SALT = passwords.manner() + "c29tZXNhbHRzb21lc2FsdA$"


def test_four_are_hashed_at_once_some_wait_and_others_are_told_to_try_again(monkeypatch):
    let_go = threading.Event()

    def slow(*_args: object, **_options: object) -> bytes:
        hashed.append(threading.get_ident())
        let_go.wait()
        return b"hash"

    hashed: list[int] = []
    at_once = passwords.MOST_HASHED + passwords.MOST_WAITING
    monkeypatch.setattr(passwords, "hash_secret", slow)
    with ThreadPoolExecutor(at_once) as threads:
        tried = [threads.submit(passwords.hashed_alike, "wrong", SALT) for _ in range(at_once)]
        full = eventually(lambda: passwords._admitted._value == 0 and len(hashed) == 4)
        with pytest.raises(errors.BusyError):
            passwords.hashed_alike("wrong", SALT)
        with pytest.raises(errors.BusyError):
            passwords.hashed("four words do well", about="")
        began = len(hashed)
        let_go.set()

    assert full
    assert began == passwords.MOST_HASHED == 4
    assert {one.result() for one in tried} == {"hash"}
