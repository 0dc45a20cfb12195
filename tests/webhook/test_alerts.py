"""The exemplary alerts and the dashboard: what they ask for is exported, and each fires when it should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.webhook.conftest import Place
from webhook.metrics import LABELLED
from worker import metrics

HOUSE = Path(__file__).parents[2]
ALERTS = HOUSE / "deploy" / "prometheus" / "alerts.yaml"
RUNBOOK = HOUSE / "docs" / "runbook.md"
DASHBOARD = HOUSE / "deploy" / "grafana" / "keypool.json"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PROMTOOL = shutil.which("promtool")

# Of each alert: series on which it fires, and on which it is silent, in promtool's notation, a value every
# 30 s; and the labels that it fires with.
REQUESTS = 'keypool_http_requests_total{method="POST",route="/webhooks/<source>",status="%s"}'
SLOWER = 'keypool_http_request_seconds_bucket{method="POST",route="/webhooks/<source>",le="%s"}'
Series = dict[str, str]
CASES: dict[str, tuple[Series, Series, dict[str, str]]] = {
    "KeypoolDown": (
        {'up{job="keypool"}': "0x400"},
        {'up{job="keypool"}': "1x400"},
        {"job": "keypool"},
    ),
    "KeypoolDatabaseDown": (
        {"keypool_database_up": "0x400"},
        {"keypool_database_up": "1x400"},
        {},
    ),
    "KeypoolSchemaDoesNotFit": (
        {"keypool_schema_fits": "0x400", "keypool_database_up": "1x400"},
        {"keypool_schema_fits": "0x400", "keypool_database_up": "0x400"},
        {},
    ),
    "KeypoolBrokerDown": ({"keypool_broker_up": "0x400"}, {"keypool_broker_up": "1x400"}, {}),
    "KeypoolNoWorker": (
        {'keypool_processes{kind="worker"}': "0x400", 'keypool_processes{kind="beat"}': "1x400"},
        {'keypool_processes{kind="worker"}': "1x400", 'keypool_processes{kind="beat"}': "0x400"},
        {},
    ),
    "KeypoolNoBeat": (
        {'keypool_processes{kind="worker"}': "1x400", 'keypool_processes{kind="beat"}': "0x400"},
        {'keypool_processes{kind="worker"}': "0x400", 'keypool_processes{kind="beat"}': "1x400"},
        {},
    ),
    "KeypoolInboxStandsStill": (
        {"keypool_events_waiting_oldest_seconds": "61x400"},
        {"keypool_events_waiting_oldest_seconds": "60x400"},
        {},
    ),
    "KeypoolDeliveriesStandStill": (
        {"keypool_deliveries_due_oldest_seconds": "121x400"},
        {"keypool_deliveries_due_oldest_seconds": "120x400"},
        {},
    ),
    "KeypoolServerErrors": (
        {REQUESTS % 202: "0+90x400", REQUESTS % 503: "0+10x400"},
        {REQUESTS % 202: "0+96x400", REQUESTS % 503: "0+4x400"},
        {},
    ),
    "KeypoolConnectionsFull": (
        {
            'keypool_connections{login="owner"}': "46x400",
            'keypool_connections{login="web"}': "40x400",
            "keypool_connections_limit": "100x400",
        },
        {
            'keypool_connections{login="owner"}': "45x400",
            'keypool_connections{login="web"}': "40x400",
            "keypool_connections_limit": "100x400",
        },
        {},
    ),
    "KeypoolLockHeld": (
        {'keypool_lock_held_seconds{lock="settling"}': "121x400"},
        {
            'keypool_lock_held_seconds{lock="settling"}': "119x400",
            'keypool_lock_held_seconds{lock="reporting"}': "300x400",
        },
        {"lock": "settling"},
    ),
    "KeypoolAuditFailed": ({"keypool_audit_ok": "0x400"}, {"keypool_audit_ok": "1x400"}, {}),
    "KeypoolWorkerLost": (
        {'keypool_processes_lost{kind="worker"}': "1x400"},
        {'keypool_processes_lost{kind="worker"}': "0x400"},
        {},
    ),
    "KeypoolOldCode": (
        {
            'keypool_processes_code_revision{kind="worker"}': "51x400",
            'keypool_processes_code_revision{kind="beat"}': "52x400",
            "keypool_code_revision": "52x400",
        },
        {
            'keypool_processes_code_revision{kind="worker"}': "52x400",
            'keypool_processes_code_revision{kind="beat"}': "0x400",
            "keypool_code_revision": "52x400",
        },
        {"kind": "worker"},
    ),
    "KeypoolJobLate": (
        {
            'keypool_job_last_success_seconds{task="bill"}': "11101x400",
            'keypool_job_interval_seconds{task="bill"}': "3600x400",
        },
        {
            'keypool_job_last_success_seconds{task="bill"}': "11100x400",
            'keypool_job_interval_seconds{task="bill"}': "3600x400",
        },
        {"task": "bill"},
    ),
    "KeypoolJobFails": (
        {'keypool_job_runs_total{task="bill",result="failure"}': "0+1x400"},
        {
            'keypool_job_runs_total{task="bill",result="failure"}': "1x400",
            'keypool_job_runs_total{task="bill",result="success"}': "0+1x400",
        },
        {"task": "bill"},
    ),
    "KeypoolSettlingSlow": (
        {'keypool_settling_delay_seconds{quantile="0.95"}': "31x400"},
        {
            'keypool_settling_delay_seconds{quantile="0.95"}': "29x400",
            'keypool_settling_delay_seconds{quantile="0.99"}': "60x400",
        },
        {},
    ),
    "KeypoolReceiverSlow": (
        {SLOWER % "0.5": "0+9x400", SLOWER % "5.0": "0+10x400", SLOWER % "+Inf": "0+10x400"},
        {SLOWER % "0.5": "0+10x400", SLOWER % "5.0": "0+10x400", SLOWER % "+Inf": "0+10x400"},
        {},
    ),
    "KeypoolEndpointsFailing": (
        {"keypool_endpoints_failing": "1x400"},
        {"keypool_endpoints_failing": "1x20 0x380"},
        {},
    ),
    "KeypoolEventsSetApart": (
        {"keypool_events_failed": "1x400"},
        {"keypool_events_failed": "0x400"},
        {},
    ),
    "KeypoolDeliveriesSetApart": (
        {"keypool_deliveries_failed": "3x100 4x300"},
        {"keypool_deliveries_failed": "3x400"},
        {},
    ),
    "KeypoolMailsSetApart": (
        {"keypool_messages_failed": "1x400"},
        {"keypool_messages_failed": "0x400"},
        {},
    ),
    "KeypoolBatchesStandStill": (
        {"keypool_batches_unfinished": "1x400", "keypool_keys_made_total": "500x400"},
        {"keypool_batches_unfinished": "1x400", "keypool_keys_made_total": "0+500x400"},
        {},
    ),
    "KeypoolAuditLate": (
        {"keypool_audit_last_result_seconds": "172801x400"},
        {"keypool_audit_last_result_seconds": "86400x400"},
        {},
    ),
    "KeypoolInvoicesHeldUp": (
        {"keypool_invoices_held_up": "2x400"},
        {"keypool_invoices_held_up": "2x20 0x380"},
        {},
    ),
}


def asked_of(expression: str) -> set[str]:
    return {*re.findall(r"\bkeypool_\w+", expression)}


def exported(place: Place) -> set[str]:
    place.client.get("/healthz")
    names = set()
    for family in text_string_to_metric_families(place.client.get("/metrics").text):
        # prometheus-client takes “_total” off a counter's name, and a family without series has no sample.
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + end for end in suffixes.get(family.type, [""])}
        names |= {sample.name for sample in family.samples}
    return names


def test_every_figure_that_an_alert_asks_for_is_in_a_real_scrape(place: Place):
    asked = {name for rule in RULES for name in asked_of(rule["expr"])}

    assert asked - exported(place) == set()


def test_no_figure_has_a_label_that_prometheus_sets_itself(place: Place):
    told = place.client.get("/metrics").text
    labels = {
        name for series in re.findall(r"{(.*?)}", told) for name in re.findall(r"(\w+)=", series)
    }

    assert "task" in {label for one in metrics.ALL for label in one.labels}
    assert labels & {"job", "instance"} == set()
    assert not any({"job", "instance"} & {*one.labels} for one in metrics.ALL)
    assert not any(label in ("job", "instance") for _, label in LABELLED.values())


def test_every_figure_that_the_dashboard_shows_is_in_a_real_scrape(place: Place):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name for panel in panels for target in panel["targets"] for name in asked_of(target["expr"])
    }

    assert len(asked) > 30
    assert asked - exported(place) == set()


def test_every_panel_of_the_dashboard_has_a_place_of_its_own():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    covered = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_has_its_page_in_the_runbook_and_every_page_its_alert():
    pages = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert pages == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("page", re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:])
def test_every_page_says_what_to_look_at_and_how_to_know_that_it_is_over(page: str):
    paragraphs = page.split("\n\n")

    assert any(one.lstrip().startswith("Look ") for one in paragraphs)
    assert paragraphs[-1].startswith("Over ") or paragraphs[-2].startswith("Over ")


def test_every_figure_that_the_runbook_names_is_in_a_real_scrape(place: Place):
    cut_short = {"keypool_job_", "keypool_lock", "keypool_web"}  # patterns for grep, and a login

    assert asked_of(RUNBOOK.read_text()) - cut_short - exported(place) == set()


def test_every_alert_is_tried_says_what_it_means_and_whom_it_wakes():
    assert [rule["alert"] for rule in RULES] == list(CASES)
    assert {rule["labels"]["severity"] for rule in RULES} == {"page", "ticket"}
    assert all(rule["annotations"]["summary"].endswith(".") for rule in RULES)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_each_alert_fires_on_a_bad_series_and_is_silent_on_a_good_one(tmp_path: Path):
    trials = [str(written(tmp_path, rule)) for rule in RULES]

    checked = promtool("check", "rules", str(ALERTS))
    tried = promtool("test", "rules", *trials)

    assert f"{len(CASES)} rules found" in checked
    assert tried.count("SUCCESS") == len(CASES)


def promtool(*words: str) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def written(folder: Path, rule: dict[str, Any]) -> Path:
    """Write a rule's trials, and the rule alone beside them: to evaluate all rules each time takes long."""
    alone, trials = (folder / f"{rule['alert']}.{kind}.yaml" for kind in ("rule", "trials"))
    alone.write_text(yaml.safe_dump({"groups": [{"name": "alone", "rules": [rule]}]}))
    bad, good, _ = CASES[rule["alert"]]
    tests = [trial(rule, bad, fires=True), trial(rule, good, fires=False)]
    trials.write_text(yaml.safe_dump({"rule_files": [str(alone)], "tests": tests}))
    return trials


def trial(rule: dict[str, Any], series: Series, *, fires: bool) -> dict[str, Any]:
    labels = rule["labels"] | CASES[rule["alert"]][2]
    alert = {"exp_labels": labels, "exp_annotations": rule["annotations"]}
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": "2h",
                "alertname": rule["alert"],
                "exp_alerts": [alert] if fires else [],
            }
        ],
    }


# Where there is no promtool, this much is checked all the same.
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alerts_expression_closes_what_it_opens_and_asks_for_something(rule: dict[str, Any]):
    open_ones: list[str] = []
    for sign in re.sub(r'"[^"]*"', "", rule["expr"]):
        if sign in "([{":
            open_ones.append(sign)
        elif sign in ")]}":
            assert open_ones.pop() + sign in ("()", "[]", "{}")

    assert open_ones == []
    assert asked_of(rule["expr"]) or rule["expr"].startswith("up{")
    assert re.fullmatch(r"\d+[mh]", rule["for"])
