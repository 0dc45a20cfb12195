"""The lab's own logic; the cuts themselves run by `make hosts`."""

import socket
import subprocess

import httpx
import pytest

from tests.composing import SERVICES
from tests.hosts import __main__ as program
from tests.hosts import cuts, lab, network, releases, replicated, traffic
from tests.hosts.watching import Most, Watch
from worker.client import PAUSE

CUT = cuts.Cut("web-1 – PostgreSQL", cuts.lines("web-1 > postgres"), 20)
SECRET = "whsec_" + "A" * 43 + "="


def told(
    cut: cuts.Cut = CUT,
    *,
    recorded: float = 1,
    answered: float = 1,
    recovery: float = 1,
    load: float = 1,
    **counted: int,
) -> list[str]:
    return cuts._wrong(cut, Most(recorded=recorded), (answered, recovery), load, **counted)


def test_a_machine_that_lacks_a_program_is_told_which(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    reason = network.refusal()

    assert reason == "setpriv, unshare, nsenter, mount, ip, nft, nginx is not installed"


def test_every_service_that_stays_has_a_host_but_the_analysts():
    on_hosts = {service for _, service in lab.HOSTS.values()}

    assert on_hosts == SERVICES.keys() - {"migrate", "jupyter"}


def test_a_cut_after_which_all_holds_is_well():
    assert told(lost=0, doubled=0, stuck=0) == []


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"lost": 1}, "1 lost"),
        ({"stuck": 2}, "2 stuck"),
        ({"answered": 10.1, "load": 5}, "answers are late"),
        ({"recovery": 10.1}, "slow to recover"),
        ({"recorded": 10.1}, "settling stood still"),
    ],
)
def test_what_does_not_hold_is_named(figures, sentence):
    assert told(**figures) == [sentence]


def test_a_backlog_may_take_longer_on_a_machine_that_has_other_work():
    assert told(recovery=49, load=5) == []


def test_settling_may_stand_still_where_no_worker_reaches_the_database():
    cut = cuts.Cut("PostgreSQL vanishes", CUT.fault, 20, settles=False)

    assert told(cut, recorded=20) == []


def test_the_short_form_has_the_cuts_that_it_names():
    short = program.chosen([], short=True)

    assert tuple(cut.name for cut in short) == cuts.SHORTLY
    assert {cut.seconds for cut in short} == {cuts.SHORT}


def test_what_was_posted_waits_until_it_is_decided():
    sent = traffic.Traffic("https://192.0.2.1", SECRET, iter([]), per_second=1)
    watch = Watch("", sent)
    sent.begun = {"a": 1.0, "b": 2.0, "c": 3.0}
    watch._decided = {"a"}

    assert watch.waiting() == ["b", "c"]
    assert watch.waiting(since=3.0) == ["b"]


def test_a_connection_that_is_closed_is_told_from_one_that_hangs():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    hung = cuts._ended(ours)
    theirs.sendall(b"HTTP/1.1 408 Request Timeout")
    theirs.close()

    assert (hung, cuts._ended(ours)) == (False, True)
    ours.close()


def test_an_upgrade_begins_with_the_last_code_before_the_next_migration(tmp_path, monkeypatch):
    house, versions = tmp_path / "house", tmp_path / "house" / "migrations" / "versions"
    versions.mkdir(parents=True)
    git = ["git", "-C", str(house), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for name in ("migrations/versions/0060_a.py", "mended", "migrations/versions/0061_b.py"):
        (house / name).touch()
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", name], check=True)
    monkeypatch.setattr(releases, "HOUSE", house)
    monkeypatch.setattr(releases, "oldest", lambda: "0060")

    older = releases.older(tmp_path / "older")

    assert older is not None
    assert (older / "mended").exists()
    assert not (older / "migrations" / "versions" / "0061_b.py").exists()


def test_there_is_no_older_code_without_a_history(tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "HOUSE", tmp_path)
    monkeypatch.setattr(releases, "oldest", lambda: "0060")

    assert releases.older(tmp_path / "older") is None


def test_the_upgrade_comes_first_since_all_other_cuts_have_its_code():
    assert cuts.CUTS.index(cuts.UPGRADE) == 0


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (None, PAUSE),
        (httpx.Response(502), PAUSE),
        (httpx.Response(503, headers={"Retry-After": "2"}), 2),
    ],
)
def test_a_sender_waits_for_as_long_as_it_is_asked_to(answer, seconds):
    assert traffic._pause(answer) == seconds


def test_replicated_hosts_have_three_databases_in_place_of_one(tmp_path):
    made = replicated.Replicated(tmp_path, None)

    url = made.environment("worker", tmp_path)["KEYPOOL_DATABASE_URL"]

    assert lab.HOSTS.keys() - made.hosts.keys() == {"postgres"}
    assert url.endswith(
        "@/keypool?host=pg-1,pg-2,pg-3&port=5432,5432,5432&target_session_attrs=read-write"
    )


def test_replicated_hosts_need_two_programs_of_others(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PATRONI", raising=False)

    assert replicated.refusal() == "etcd and patroni not installed"


def test_traffic_that_ended_early_is_told_when_it_is_stopped():
    flow = traffic.Traffic("https://192.0.2.1", SECRET, iter([]), per_second=1)
    flow.start()
    flow._thread.join()  # it has no key to ask for

    with pytest.raises((RuntimeError, ExceptionGroup)):
        flow.stop()
