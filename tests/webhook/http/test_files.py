"""What is handed out as a file has a name that every browser can keep."""

from contextlib import ExitStack

import pytest

from webhook.http import files
from webhook.http.files import attachment
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy.actors import Role


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Autumn 2026.csv", 'attachment; filename="Autumn 2026.csv"'),
        ('a"b.csv', 'attachment; filename="a\\"b.csv"'),
        ("Übung.csv", "attachment; filename=\"Ubung.csv\"; filename*=UTF-8''%C3%9Cbung.csv"),
        ("春.xlsx", "attachment; filename=\"keys.xlsx\"; filename*=UTF-8''%E6%98%A5.xlsx"),
    ],
)
def test_a_name_is_told_as_rfc_6266_says(name, header):
    assert attachment(name)["Content-Disposition"] == header


def test_downloads_leave_a_connection_to_other_requests_and_half_to_other_organizations(place):
    manager, own = place.token(Role.MANAGER), place.world.parent
    exported = f"/api/v1/pools/{place.world.pool}/keys?format=csv"
    most = connections.sizes(Login.WEB)[0] - 1

    with ExitStack() as held:
        for _ in range(most - most // 2):
            held.enter_context(files.places.held(own))
        busy = place.client.get(exported, headers=manager)
        page = place.client.get("/api/v1/pools", headers=manager)
        others = place.client.get(exported, headers=place.token(Role.OPERATOR))
    read = [place.client.get(exported, headers=manager).status_code for _ in range(2 * most)]

    assert (busy.status_code, busy.json["type"]) == (503, "/problems/too_many_downloads")
    assert "Retry-After" in busy.headers
    assert (page.status_code, others.status_code) == (200, 200)
    assert set(read) == {200}  # each left its place
