"""deploy/kubernetes: objects that the API takes, and the same parts that compose.yaml runs."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.composing import SERVICES
from webhook import metrics
from worker.settings import Settings

HOUSE = Path(__file__).parent.parent
FOLDER = HOUSE / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    one
    for file in KUSTOMIZATION["resources"]
    for one in yaml.safe_load_all((FOLDER / file).read_text())
]
PODS = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]
    for one in OBJECTS
    if "template" in one.get("spec", {})
}
# Who is who in compose.yaml, whose pieces are tried by tests/test_compose.py.
COMPOSED = {
    "keypool-migrate": "migrate",
    "keypool-web": "webhook",
    "keypool-worker": "worker",
    "keypool-beat": "beat",
}


def told(one: dict[str, Any]) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def container(name: str) -> dict[str, Any]:
    [only] = PODS[name]["containers"]
    return only


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in OBJECTS if told(one) == f"{kind}/{name}"]
    return found


@pytest.mark.parametrize("one", OBJECTS, ids=told)
def test_the_api_of_each_kind_takes_the_object(one):
    kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_a_field_that_the_api_does_not_have_is_found():
    misspelt = named("Deployment", "keypool-beat") | {"spec": {"replica": 1}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, kubernetes_validate.latest_version(), strict=True)


def test_every_file_is_applied():
    assert {*KUSTOMIZATION["resources"], "kustomization.yaml"} == {
        file.name for file in FOLDER.iterdir()
    }


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_what_compose_runs(name):
    service, own = SERVICES[COMPOSED[name]], container(name)
    of_kubernetes = ["--concurrency", "2"] if name == "keypool-worker" else []

    assert own["command"] == service["command"] + of_kubernetes
    assert own["image"] == service["image"]
    assert own["image"] in {image["name"] for image in KUSTOMIZATION["images"]}
    assert PODS[name].get("terminationGracePeriodSeconds", 30) >= int(
        service.get("stop_grace_period", "10s").removesuffix("s")
    )


@pytest.mark.parametrize("name", PODS)
def test_a_pod_can_write_nothing_but_scratch_and_has_no_right_of_roots(name):
    pod, own = PODS[name], container(name)
    [uid] = re.findall(r"--uid (\d+)", (HOUSE / "Dockerfile").read_text())

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(uid)
    assert own["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("emptyDir" in volume for volume in pod["volumes"])
    assert {"cpu", "memory"} == own["resources"]["requests"].keys()
    assert {"memory"} == own["resources"]["limits"].keys()


def test_the_webs_secret_is_not_the_workers():
    given = {name: container(name)["envFrom"][1]["secretRef"]["name"] for name in PODS}

    assert given["keypool-web"] == "keypool-web"
    assert {given[name] for name in PODS if name != "keypool-web"} == {"keypool-worker"}


def test_every_setting_is_one_that_keypool_has():
    own = {name.upper() for name in Settings.model_fields}
    given = {*named("ConfigMap", "keypool")["data"]} | {
        one["name"] for name in PODS for one in container(name).get("env", [])
    }

    ours = {name.removeprefix("KEYPOOL_") for name in given if name.startswith("KEYPOOL_")}
    assert ours
    assert ours <= own


@pytest.mark.parametrize("name", ["keypool-web", "keypool-worker"])
def test_a_disturbance_and_a_new_version_leave_one_at_work(name):
    deployment = named("Deployment", name)

    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert named("PodDisruptionBudget", name)["spec"]["minAvailable"] == 1
    assert named("HorizontalPodAutoscaler", name)["spec"]["minReplicas"] == 2


def test_workers_grow_with_the_age_of_the_inbox():
    [metric] = named("HorizontalPodAutoscaler", "keypool-worker")["spec"]["metrics"]

    assert metric["external"]["metric"]["name"] in metrics.FIGURES


def test_the_probes_ask_what_compose_asks():
    own = container("keypool-web")

    ready, *alive = (
        own[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "startup", "liveness")
    )

    assert f"$$GRANIAN_PORT{ready}'" in SERVICES["webhook"]["healthcheck"]["test"][1]
    assert SERVICES["proxy"]["healthcheck"]["test"][-1].endswith(alive[0])
    assert alive[0] == alive[1]


def test_tables_alone_are_long_as_at_composes_proxy():
    [path] = named("Ingress", "keypool-tables")["spec"]["rules"][0]["http"]["paths"]

    assert f"location ~ ^{path['path']} {{" in (HOUSE / "nginx.conf").read_text()
