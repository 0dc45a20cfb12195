"""The command line's frame: help, JSON, exit codes, one sentence for whatever people can put right."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from worker import cli
from worker.cli import frame
from worker.machine import embedded

COMMAND = [sys.executable, "-c", "from worker.cli import main; main()"]


def commands(group=cli.keypool, path=()):
    """Every command's words, groups taken apart."""
    context = group.make_context("keypool", [], resilient_parsing=True)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if hasattr(found, "list_commands"):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name)


def without_settings(home):
    """Give this process's environment, but of keypool's settings a home alone."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("KEYPOOL_")}
    return {**known, "KEYPOOL_HOME": str(home)}


def in_home(home, *words, **environment):
    """Run a command as a process of its own, on the system under a home."""
    return subprocess.run(
        [*COMMAND, *words],
        env={**without_settings(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def on_terminal(*words, columns=80, interrupt=None, **environment):
    """Run a command on a terminal, and give what was drawn; interrupt it once it drew some words."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    process = subprocess.Popen(
        [*COMMAND, *words],
        env={**os.environ, "TERM": "xterm-256color", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    with process, suppress(OSError):  # a terminal that its last process left
        while piece := os.read(ours, 65_536):
            drawn += piece
            if interrupt and interrupt in drawn.decode(errors="replace"):
                process.send_signal(signal.SIGINT)
                interrupt = None
    os.close(ours)
    return drawn.decode(), process.returncode


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help_and_takes_json(words, capsys):
    code = cli.answer([*words, "--help"])

    told = capsys.readouterr().out
    assert code == 0
    assert "--json" in told


def imported_by(*words, environment=os.environ):
    """Run a command as a process of its own, and give the modules that it imported."""
    script = (
        "import sys; from worker.cli import answer; code = answer(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("group", ["", *cli.COMMANDS])
def test_help_comes_without_importing_the_domain(group):
    modules = imported_by(*filter(None, [group]), "--help")

    assert modules & {"sqlalchemy", "psycopg", "pydantic", "structlog", "httpx", "asyncio"} == set()


def test_a_command_imports_what_it_needs_alone_and_maps_the_tables_that_it_reads(database):
    modules = imported_by("pools", "list")

    mapped = {name for name in modules if name.startswith("worker.tables.")}
    tables = ["catalogue", "columns", "labels", "pools", "tenancy"]
    assert mapped == {f"worker.tables.{name}" for name in tables}
    for package in ["structlog", "alembic", "celery", "redis", "numpy", "babel", "httpx", "psutil"]:
        assert package not in modules


def test_a_command_on_embedded_servers_that_run_imports_no_client_of_the_broker(tmp_path):
    with embedded.lease(tmp_path, durable=False):
        in_home(tmp_path, "db", "init")
        modules = imported_by("pools", "list", environment=without_settings(tmp_path))

    assert modules & {"redis", "celery", "structlog", "alembic"} == set()


def test_what_a_command_made_is_not_looked_through_for_garbage_at_its_end():
    script = (
        "import atexit, gc, sys; sys.argv[1:] = ['--version']; from worker.cli import main;"
        "atexit.register(lambda: print(gc.get_freeze_count() > len(sys.modules))); main()"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert done.stdout.endswith(b"True\n")


def test_the_version_is_printed(capsys):
    code = cli.answer(["--version"])

    assert code == 0
    assert capsys.readouterr().out.startswith("keypool ")


def test_an_unknown_command_is_refused_in_a_line_that_says_where_help_is(run):
    done = run("pools", "shwo")

    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "Did you mean 'show'?" in done.err
    assert "“keypool pools --help”" in done.err


def test_a_missing_option_is_refused_in_a_line(run):
    done = run("courses", "add", "X-1", "Title", "--currency", "EUR")

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "--price" in done.err


def test_a_refusal_is_one_sentence_and_with_json_a_document_too(run):
    plain = run("pools", "show", "no such pool")
    as_json = run("pools", "show", "no such pool", "--json")

    assert (plain.code, plain.out) == (2, "")
    assert plain.err == "POOL: There is no pool “no such pool” in your organizations.\n"
    assert (as_json.code, as_json.err) == (2, plain.err)
    assert as_json.json == {"error": "not_found", "message": plain.err.strip()}


def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(run, give):
    name = "The academy of everybody who learns on the quiet side of the river"
    give("organizations", "add", name)

    narrow, code = on_terminal("organizations", "list")
    piped = run("organizations", "list")

    lines = re.sub(r"\x1b\[[0-9;]*m", "", narrow).splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert re.search("The academy.*…", narrow)
    assert name in piped.out


def test_colours_are_left_out_if_that_is_asked_for():
    coloured, _ = on_terminal("pools", "--help")
    plain, code = on_terminal("pools", "--help", NO_COLOR="1")

    colour = re.compile(r"\x1b\[([0-9]+;)*3[0-9][;m]")
    assert code == 0
    assert colour.search(coloured)
    assert not colour.search(plain)


def test_a_table_has_no_colours_if_that_is_asked_for(database):
    plain, code = on_terminal("organizations", "list", NO_COLOR="1")

    assert code == 0
    assert not re.search(r"\x1b\[([0-9]+;)*3[0-9][;m]", plain)


def test_a_command_that_may_not_ask_says_what_to_give(run, monkeypatch):
    monkeypatch.delenv("KEYPOOL_PASSWORD", raising=False)

    done = run("users", "add", "ann@example.org", "--role", "operator", "--no-input")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Give --password, or set KEYPOOL_PASSWORD: ")
    assert done.err.count("\n") == 1


def test_a_command_that_may_not_ask_does_its_work_if_nothing_is_to_be_asked(run, monkeypatch):
    monkeypatch.setenv("KEYPOOL_PASSWORD", "seven green bicycles at noon")

    done = run("users", "add", "no-input@example.org", "--role", "operator", "--no-input")

    assert (done.code, done.err) == (0, "")


def test_every_command_that_asks_can_be_told_not_to():
    for words in commands():
        command = cli.keypool
        for word in words:
            command = command.get_command(
                command.make_context("", [], resilient_parsing=True), word
            )
        asked = [one for one in command.params if getattr(one, "prompt", None)]

        assert all(isinstance(one, frame.Asked) for one in asked), words
        assert any("--no-input" in one.opts for one in command.params) is bool(asked), words


def test_an_error_names_its_flag_in_json_too(run):
    words = ("courses", "add", "X-77", "Title", "--price", "cheap", "--currency", "EUR")
    price, as_json = run(*words), run(*words, "--json")

    assert as_json.json["message"] == price.err.strip()


def test_text_from_outside_is_printed_without_markup_or_control_sequences(run):
    run("organizations", "add", "[red]Acme[/red] \x1b[31mred")

    done = run("organizations", "list")

    assert "[red]Acme[/red] �[31mred" in done.out


def test_a_rule_that_only_the_database_knows_is_told_in_its_sentence(run, give):
    give("organizations", "add", "Late Payers")

    done = run("organizations", "edit", "Late Payers", "--payment-terms", "9999")

    assert done.code == 2
    assert "Invoices are due within 0 to 365 days." in done.err
    assert done.err.count("\n") == 1


def test_a_value_that_no_column_holds_is_refused_in_a_sentence(run, give):
    give("organizations", "add", "Huge")

    done = run("organizations", "edit", "Huge", "--payment-terms", "99999999999")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("A value is too large")
    assert done.err.count("\n") == 1


def test_a_word_that_is_not_utf_8_is_refused_in_a_sentence(run):
    done = run("organizations", "add", "caf\udce9")

    assert done.code == 2
    assert "UTF-8" in done.err
    assert done.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence(run, tmp_path):
    (tmp_path / "file").touch()

    done = run("demo", "-o", str(tmp_path / "file" / "folder"))

    assert done.code == 2
    assert str(tmp_path / "file") in done.err
    assert done.err.count("\n") == 1


def test_a_wrong_setting_is_named(tmp_path):
    done = in_home(tmp_path, "pools", "list", KEYPOOL_LOG_FORMAT="yaml")

    assert done.returncode == 2
    assert done.stderr.startswith("KEYPOOL_LOG_FORMAT: ")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_told_with_what_to_do(tmp_path):
    away = {
        "KEYPOOL_DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:1/x",
        "KEYPOOL_SECRET_KEY": "x" * 32,
    }

    done = in_home(tmp_path, "pools", "list", **away)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "The database cannot be reached; try again in a moment, or check KEYPOOL_DATABASE_URL.\n"
    )


def test_a_database_without_keypools_tables_is_told_with_what_to_do(servers, tmp_path):
    environment = servers.named("postgres").environment()

    done = in_home(tmp_path, "pools", "list", **environment)

    assert done.returncode == 2
    assert done.stderr == "The database is not keypool's yet; run “keypool db init”.\n"


def test_a_command_makes_the_system_that_it_needs_and_leaves_it_to_the_next(tmp_path):
    first = in_home(tmp_path, "organizations", "add", "Acme", "--json")
    second = in_home(tmp_path, "organizations", "list", "--json")

    assert (first.returncode, first.stderr) == (0, "")
    assert json.loads(second.stdout)["items"] == [json.loads(first.stdout)]


def test_output_that_nobody_reads_any_more_ends_a_command_quietly(database):
    command = [*COMMAND, "courses", "list"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read()

    assert told == b""


def test_an_interrupted_command_ends_with_130_and_no_traceback(tmp_path):
    script = """
import sys, time
from worker.machine import supervisor
from worker.cli import answer
supervisor.require_free = lambda *_: (print("begun", flush=True), time.sleep(60))
sys.exit(answer(["up"]))
"""

    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "KEYPOOL_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "Traceback" not in told
