import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.waiting import LONGEST, eventually
from worker.machine import supervisor
from worker.machine.supervisor import Service, service

HOUSE = Path(__file__).parents[3]
PYTHON = [sys.executable, "-S", "-c"]
SLEEP = [*PYTHON, "import time; print('started', flush=True); time.sleep(600)"]
STUBBORN = [
    *PYTHON,
    "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True));"
    "print('started', flush=True)\nwhile True: time.sleep(600)",
]
PARENT = [
    *PYTHON,
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)', sys.argv[1]]);"
    "print('started', flush=True); time.sleep(600)",
]
ANNOUNCE = [
    *PYTHON,
    "import os, pathlib, sys, time\n"
    "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
    "pathlib.Path(os.environ['KEYPOOL_READY_FILE']).touch(); time.sleep(600)",
]
DYING = 10  # seconds; what is not killed at once has three times as long
SUPERVISE = f"""
import sys
from pathlib import Path
from worker.machine.supervisor import Service, supervised
mark = sys.argv[1]
services = [Service(n, [*{PARENT!r}, mark]) for n in ("a", "b")]
print("here", flush=True)
def upkeep():
    with (Path(mark) / "upkeep.log").open("a") as log:
        print("tended", file=log)
with supervised(services, logs=Path(mark), upkeep=upkeep) as supervision:
    supervision.wait_until_ready()
    print("ready", flush=True)
    supervision.wait()
"""


def marked(mark: Path) -> list[psutil.Process]:
    """The processes that carry a test's own mark among their arguments."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(mark) in process.cmdline() and process.pid != os.getpid():
                found.append(process)
    return found


def none_left(mark: Path) -> bool:
    """Whether none of them lives on; what was just killed needs the processor once more to die."""
    return eventually(lambda: marked(mark) == [], seconds=DYING)


def supervising(mark: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, mark],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(tmp_path: Path, name: str) -> int:
    """How often a service has said that it started."""
    return said(tmp_path, name, "started")


def said(tmp_path: Path, name: str, word: str) -> int:
    """How often a service has said a word."""
    log = tmp_path / f"{name}.log"
    return log.read_text().count(word) if log.exists() else 0


def test_a_service_that_dies_is_started_again(tmp_path):
    with supervisor.supervised([Service("a", SLEEP)], logs=tmp_path) as supervision:
        assert eventually(lambda: started(tmp_path, "a") == 1)
        died = supervision.pids["a"]

        os.kill(died, signal.SIGKILL)

        assert eventually(lambda: started(tmp_path, "a") == 2)
        assert supervision.pids["a"] != died


def test_a_services_log_is_its_users_alone_also_one_of_an_older_version(tmp_path):
    log = tmp_path / "a.log"
    log.touch(mode=0o644)

    with supervisor.supervised([Service("a", SLEEP)], logs=tmp_path):
        assert eventually(lambda: started(tmp_path, "a") == 1)

    assert log.stat().st_mode & 0o777 == 0o600


def test_what_a_dead_service_left_behind_is_ended_before_it_is_started_again(tmp_path):
    service = Service("a", [*PARENT, str(tmp_path)])

    with supervisor.supervised([service], logs=tmp_path) as supervision:
        assert eventually(lambda: started(tmp_path, "a") == 1)  # having started its own
        before = {process.pid for process in marked(tmp_path)}
        assert len(before) == 2
        os.kill(supervision.pids["a"], signal.SIGKILL)

        assert eventually(lambda: started(tmp_path, "a") == 2)
        assert not before & {process.pid for process in marked(tmp_path)}


def test_every_service_and_what_it_started_is_ended_with_the_block(tmp_path):
    services = [Service(name, [*PARENT, str(tmp_path)]) for name in ("a", "b", "c")]

    with supervisor.supervised(services, logs=tmp_path):
        assert eventually(lambda: len(marked(tmp_path)) == 6)

    assert none_left(tmp_path)


def test_an_error_in_the_block_ends_the_services_too(tmp_path):
    service = Service("a", [*SLEEP, str(tmp_path)])

    with (
        pytest.raises(ZeroDivisionError),
        supervisor.supervised([service], logs=tmp_path) as supervision,
    ):
        supervision.wait_until_ready(seconds=1 / 0)

    assert none_left(tmp_path)


def test_a_service_that_does_not_end_when_told_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "GRACE", 0.3)

    with supervisor.supervised([Service("a", [*STUBBORN, str(tmp_path)])], logs=tmp_path):
        assert eventually(lambda: started(tmp_path, "a") == 1)

    assert none_left(tmp_path)


def test_an_interrupt_ends_a_supervisor_in_the_background_of_a_script(tmp_path):
    with subprocess.Popen(
        ["sh", "-c", '"$@" & wait', "sh", sys.executable, "-c", SUPERVISE, tmp_path],
        cwd=HOUSE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as shell:
        assert eventually(lambda: started(tmp_path, "a") and started(tmp_path, "b"))

        psutil.Process(shell.pid).children()[0].send_signal(signal.SIGINT)

    assert none_left(tmp_path)


def test_a_second_interrupt_has_stubborn_services_killed_at_once(tmp_path):
    script = SUPERVISE.replace(repr(PARENT), repr(STUBBORN))
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        cwd=HOUSE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert eventually(lambda: started(tmp_path, "a") and started(tmp_path, "b"))

    process.send_signal(signal.SIGINT)
    assert eventually(lambda: said(tmp_path, "a", "told") and said(tmp_path, "b", "told"))
    process.send_signal(signal.SIGINT)
    process.wait(service.GRACE)

    assert none_left(tmp_path)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_is_told_to_end_leaves_nothing(tmp_path, ending):
    process = supervising(tmp_path)
    assert eventually(lambda: len(marked(tmp_path)) == 5)

    process.send_signal(ending)
    process.communicate(timeout=LONGEST)

    assert none_left(tmp_path)


@pytest.mark.parametrize("delay", [0, 0.05, 0.15])
def test_an_interrupt_while_services_start_leaves_nothing(tmp_path, delay):
    process = supervising(tmp_path)
    process.stdout.readline()
    time.sleep(delay)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LONGEST)

    assert none_left(tmp_path)


@pytest.mark.parametrize("delay", [0, 0.06, 1])
def test_the_services_of_a_killed_supervisor_end(tmp_path, delay):
    process = supervising(tmp_path)
    process.stdout.readline()
    time.sleep(delay)

    process.kill()
    process.communicate()

    assert eventually(lambda: marked(tmp_path) == [])


def test_a_guard_that_is_killed_is_replaced_by_one_that_knows_the_services(tmp_path):
    process = supervising(tmp_path)
    assert [process.stdout.readline() for _ in "ab"] == ["here\n", "ready\n"]
    family = psutil.Process(process.pid)
    guards = [child for child in family.children() if "while read" in " ".join(child.cmdline())]
    guards[0].kill()
    assert eventually(lambda: len(family.children()) == 3 and guards[0] not in family.children())
    before = said(tmp_path, "upkeep", "tended")  # upkeep comes when the new guard knows of all
    assert eventually(lambda: said(tmp_path, "upkeep", "tended") > before)

    process.kill()
    process.communicate()

    assert eventually(lambda: marked(tmp_path) == [])


def test_a_service_that_is_stuck_is_started_again(tmp_path):
    stuck = [True]
    service = Service("a", SLEEP, stuck=lambda: bool(stuck and stuck.pop()), settle_in=0.2)

    with supervisor.supervised([service], logs=tmp_path):
        assert eventually(lambda: started(tmp_path, "a") == 2)


def test_a_question_that_fails_is_no_reason_to_start_a_service_again(tmp_path):
    asked = []

    def stuck() -> bool:
        asked.append(True)
        raise ConnectionError

    service = Service("a", SLEEP, stuck=stuck, settle_in=0)
    with supervisor.supervised([service], logs=tmp_path) as supervision:
        supervision.wait_until_ready()
        before = supervision.pids

        assert eventually(lambda: asked)
        assert supervision.pids == before


def test_a_service_that_keeps_dying_is_reported_with_its_last_words(tmp_path):
    service = Service("web", [*PYTHON, "raise SystemExit('port 1 is taken')"], ready=lambda: False)

    with (
        pytest.raises(supervisor.ServiceFailedError, match=r"web .*port 1 is taken.*web\.log"),
        supervisor.supervised([service], logs=tmp_path) as supervision,
    ):
        supervision.wait_until_ready()


def test_waiting_ends_when_every_service_answers(tmp_path):
    answers = iter([False, False, True])
    services = [Service("a", SLEEP, ready=lambda: next(answers)), Service("b", SLEEP)]

    with supervisor.supervised(services, logs=tmp_path) as supervision:
        supervision.wait_until_ready()

        assert set(supervision.pids) == {"a", "b"}


def test_each_service_is_told_of_when_it_works(tmp_path):
    told, answers = [], iter([False, False, True])
    services = [Service("a", SLEEP, ready=lambda: next(answers)), Service("b", SLEEP)]

    with supervisor.supervised(services, logs=tmp_path) as supervision:
        supervision.wait_until_ready(tell=told.append)

    assert told == ["b", "a"]


def test_a_service_that_announces_works_once_it_made_its_file(tmp_path):
    (tmp_path / "a.ready").touch()  # what one before it left
    announcing = Service("a", [*ANNOUNCE, str(tmp_path / "go")], announces=True)
    told = []

    with supervisor.supervised([announcing, Service("b", SLEEP)], logs=tmp_path) as supervision:
        waiting = threading.Thread(
            target=supervision.wait_until_ready, kwargs={"tell": told.append}
        )
        waiting.start()
        assert eventually(lambda: told == ["b"])
        (tmp_path / "go").touch()
        waiting.join()

    assert told == ["b", "a"]


def test_upkeep_goes_on_although_it_failed(tmp_path):
    calls = []

    def upkeep() -> None:
        calls.append(True)
        raise ConnectionError

    with supervisor.supervised([], logs=tmp_path, upkeep=upkeep):
        assert eventually(lambda: len(calls) == 2)


def test_a_service_gets_its_own_environment_and_no_input(tmp_path):
    script = "import os, sys; print(os.environ['WHO'], repr(sys.stdin.read()), flush=True)"
    service = Service("a", [*PYTHON, script], environment={"WHO": "me"})

    with supervisor.supervised([service], logs=tmp_path):
        assert eventually((tmp_path / "a.log").exists)
        assert eventually(lambda: "me ''" in (tmp_path / "a.log").read_text())


def test_the_services_are_told_where_the_web_is(tmp_path):
    services = supervisor.services(tmp_path, host="127.0.0.1", port=8123)

    told = {one.environment["KEYPOOL_LOCAL_URL"] for one in services}
    assert told == {"http://127.0.0.1:8123"}


def test_a_url_answers_when_it_says_200():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"

        assert supervisor.answers(f"{url}/readyz")()
        assert not supervisor.answers(f"{url}/other")()
        server.shutdown()
    assert not supervisor.answers(f"{url}/readyz")()


def test_a_port_on_which_somebody_listens_is_refused():
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(supervisor.PortTakenError, match=str(port)):
            supervisor.require_free("127.0.0.1", port)

    supervisor.require_free("127.0.0.1", port)
