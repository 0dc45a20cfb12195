"""What readiness and metrics tell of a worker that stands still."""

import pytest
from sqlalchemy import text

from tests.conftest import Addresses
from tests.webhook.conftest import Place, redemption
from worker import tasks
from worker.database import connections
from worker.tenancy import web_keys

AGO = "clock_now() - interval '10 minutes'"
STILL = {
    "inbox": f"""INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                                    type, data, received_at)
                 SELECT id, organization_id, organization_id, 'still', '', 'redemption.requested',
                        '{{}}', {AGO} FROM source LIMIT 1""",
    "deliveries": f"""WITH listening AS (
                          INSERT INTO endpoint (organization_id, url, types)
                          SELECT organization_id, 'https://still.example.com/', '{{pool.low}}'
                            FROM source LIMIT 1
                          RETURNING id)
                      INSERT INTO delivery (endpoint_id, type, data, happened_at, due_at)
                      SELECT id, 'pool.low', '{{}}', {AGO}, {AGO} FROM listening""",
    "schedule": f"UPDATE schedule_beat SET last_run_at = {AGO}",
}
METRICS = {
    "inbox": "keypool_events_waiting_oldest_seconds",
    "deliveries": "keypool_deliveries_due_oldest_seconds",
    "schedule": "keypool_schedule_last_run_seconds",
}


def metric(place: Place, name: str) -> float:
    lines = place.client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.parametrize("part", STILL)
def test_what_stands_still_is_told_and_counts_for_no_status(
    place: Place, database: Addresses, part
):
    before = place.client.get("/readyz").json["work"]
    try:
        with connections.session() as session:
            session.execute(text(STILL[part]))

        answer = place.client.get("/readyz")

        work = answer.json["work"]
        assert before["message"] is None or before["ok"] is False
        assert (answer.status_code, answer.json["ok"], work["ok"]) == (200, True, False)
        assert 600 <= work[f"{part}_seconds"] < 6000
        assert f"{part} for " in work["message"]
        assert metric(place, METRICS[part]) >= 600
    finally:
        with connections.session() as session:
            session.execute(
                text("UPDATE event SET status = 'failed', error = '-' WHERE webhook_id = 'still'")
            )
            session.execute(
                text("UPDATE endpoint SET removed_at = clock_now() WHERE url LIKE '%still%'")
            )


def test_a_task_of_the_schedule_says_that_it_runs(place: Place):
    with connections.session() as session:
        session.execute(text(STILL["schedule"]))

    tasks.fold_tallies()

    assert metric(place, METRICS["schedule"]) < 300
    assert place.client.get("/readyz").json["work"]["ok"]


def test_readiness_says_when_the_database_does_not_know_this_process_by_its_secret_key(
    place: Place, database: Addresses
):
    sender = place.sender()
    with connections.session() as session:
        session.execute(text("DELETE FROM web_key"))

    refused, message = place.client.get("/readyz"), sender.post(redemption())
    connections.transaction(web_keys.tell)
    again = place.client.get("/readyz")

    assert (refused.status_code, refused.json["ok"]) == (503, False)
    assert refused.json["secret_key"]["ok"] is False
    assert "KEYPOOL_SECRET_KEY: start a worker" in refused.json["secret_key"]["message"]
    assert (message.status_code, message.json["type"][-11:]) == (503, "unknown_web")
    assert (again.status_code, again.json["secret_key"]) == (200, {"ok": True, "message": None})
