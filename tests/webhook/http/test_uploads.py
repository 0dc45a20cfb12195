"""Long uploads: who may send one is looked up first, and few are read at once."""

import io
from collections.abc import Iterator

import pytest

from tests.webhook.conftest import Place
from webhook.http import uploads
from worker.settings import settings
from worker.tenancy.actors import Role

LONG = 2 * uploads.SHORT
LINES = b"\n".join(b"PLACES-%07d" % number for number in range(70_000))


class Unread(io.RawIOBase):
    """A body that nobody may read."""

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: object) -> int:
        raise AssertionError("it was read")

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = LONG if whence else offset  # the client measures it
        return self._place

    def tell(self) -> int:
        return getattr(self, "_place", 0)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings of the test's own."""
    settings.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    settings.cache_clear()


def sent(place: Place, path: str, role: Role, body: io.IOBase):
    headers = place.token(role) | {"Content-Type": "text/plain"}
    return place.client.post(path, headers=headers, input_stream=body)


@pytest.mark.parametrize("path", ["/api/v1/pools/{}/keys", "/api/v1/pools/{}/distributions"])
def test_a_body_for_what_is_not_there_or_not_allowed_is_not_read(place, path):
    there, elsewhere = path.format(place.world.pool), path.format(999_999)

    unknown = sent(place, elsewhere, Role.MANAGER, Unread())
    forbidden = sent(place, there, Role.FINANCE, Unread())

    assert (unknown.status_code, forbidden.status_code) == (404, 403)


def test_a_table_over_the_largest_is_refused_unread(place, limited):
    limited.setenv("KEYPOOL_LARGEST_UPLOAD", str(uploads.SHORT))

    answer = sent(place, f"/api/v1/pools/{place.world.pool}/keys", Role.MANAGER, Unread())

    assert answer.status_code == 413


def test_beyond_a_number_of_long_uploads_others_are_told_to_try_again(place, limited):
    limited.setenv("KEYPOOL_UPLOADS_AT_ONCE", "1")
    path = f"/api/v1/pools/{place.world.pool}/keys?dry_run=true"

    uploads.places.take(None)
    busy = sent(place, path, Role.MANAGER, Unread())
    short = sent(place, path, Role.MANAGER, io.BytesIO(b"PLACES-0000001"))
    uploads.places.leave(None)
    free = [sent(place, path, Role.MANAGER, io.BytesIO(LINES)) for _ in range(2)]

    assert (busy.status_code, busy.json["type"]) == (503, "/problems/too_many_uploads")
    assert "Retry-After" in busy.headers
    assert short.status_code == 201
    assert [answer.status_code for answer in free] == [201, 201]  # the first left its place


def test_one_organizations_long_uploads_leave_half_of_the_places_to_others(place, limited):
    limited.setenv("KEYPOOL_UPLOADS_AT_ONCE", "2")
    path, theirs = f"/api/v1/pools/{place.world.pool}/keys?dry_run=true", place.world.parent

    uploads.places.take(theirs)
    busy = sent(place, path, Role.MANAGER, Unread())
    others = sent(place, path, Role.OPERATOR, io.BytesIO(LINES))
    uploads.places.leave(theirs)

    assert (busy.status_code, busy.json["type"]) == (503, "/problems/too_many_uploads")
    assert others.status_code == 201


def test_a_token_has_so_many_answers_and_its_kept_ones_stay(place, limited):
    limited.setenv("KEYPOOL_ANSWERS_PER_TOKEN", "2")
    token = place.token(Role.MANAGER)

    def add(key: str):
        headers = token | {"Idempotency-Key": key}
        source = {"name": f"answers {key}", "organization": str(place.world.parent)}
        return place.client.post("/api/v1/sources", headers=headers, json=source)

    answers = [add(key) for key in ("one", "two", "three", "two")]

    assert [answer.status_code for answer in answers] == [201, 201, 429, 201]
    assert answers[2].json["type"] == "/problems/too_many_answers"
    assert answers[2].headers["Retry-After"] == "3600"
    assert answers[3].headers["Idempotency-Replayed"] == "true"
