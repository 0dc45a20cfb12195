"""Keypool with the packages of some extras alone, as its images have it."""

import json
import os
import subprocess
import sys

import pytest

from tests import packages

LOCAL = "Embedded servers need keypool's extra “local”"
NOTEBOOKS = "Notebooks, reports and simulated history need keypool's extra “notebooks”"

WEB = """
import json, webhook
client = webhook.create_app().test_client()
print(json.dumps({path: client.get(path).status_code for path in PATHS}))
"""
PATHS = ["/healthz", "/readyz", "/openapi.json", "/metrics", "/docs", "/console/sign-in"]


def ran(script, *extras, environment=os.environ):
    """Run Python with what these extras bring and no more."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, **packages.environment(*extras)},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


def keypool(*words, extras=(), environment=os.environ):
    """Run a command of keypool with what these extras bring and no more."""
    script = f"from worker.cli import answer; exit(answer({list(words)}))"
    return ran(script, *extras, environment=environment)


def test_the_web_runs_with_what_every_process_has(database):
    done = ran(WEB.replace("PATHS", repr(PATHS)))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(PATHS, 200)


# redis-py imports OpenTelemetry's SDK, and that psutil, where the extra `traces` is installed.
def test_the_web_imports_no_package_of_an_extra_where_all_others_are_installed(database):
    script = "import sys, webhook; webhook.create_app(); print(*sys.modules)"
    others = ["local", "reports", "notebooks"]

    done = ran(script, *others)

    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()[-1].split()
    extras = set.union(*map(packages.of_extra, others))
    assert {"psutil", "pandas", "jupyterlab"} <= extras
    assert packages.imported(modules) & extras == set()


def test_a_command_runs_with_what_every_process_has(database):
    done = keypool("pools", "list", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["items"] == []


def test_a_notebook_is_run_with_the_workers_packages(database, tmp_path):
    page = tmp_path / "report.html"

    done = keypool("reports", "run", "redemptions", "-o", str(page), extras=["reports"])

    assert done.returncode == 0, done.stderr
    assert "</html>" in page.read_text()


@pytest.mark.parametrize("brought", [[], ["reports"]])
def test_without_embedded_servers_a_command_names_their_extra(tmp_path, brought):
    known = {name: os.environ[name] for name in os.environ if not name.startswith("KEYPOOL_")}
    environment = {**known, "KEYPOOL_HOME": str(tmp_path)}

    done = keypool("pools", "list", extras=brought, environment=environment)

    assert done.returncode == 2
    assert done.stderr.startswith(LOCAL)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["reports", "run", "redemptions"],
        ["reports", "lab"],
        ["simulate", "--organizations=1", "--months=1", "--redemptions=1"],
    ],
    ids=" ".join,
)
def test_without_what_runs_notebooks_a_command_names_their_extra(database, words):
    done = keypool(*words)

    assert done.returncode == 2
    assert done.stderr.startswith(NOTEBOOKS)
    assert done.stderr.count("\n") == 1


def test_a_report_that_is_kept_says_which_extra_its_worker_lacks(database):
    done = keypool("reports", "run", "redemptions", "--keep", "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["traceback"].startswith(NOTEBOOKS)
