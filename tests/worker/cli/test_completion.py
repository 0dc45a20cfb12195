"""A shell completes commands, flags, and names of what is there while keypool is up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from tests.world import OPERATOR
from worker import cli
from worker.cli import completing
from worker.pools import pools


def completions(*words: str) -> list[str]:
    *before, begun = words
    made = ShellComplete(cli.keypool, {}, "keypool", "_KEYPOOL_COMPLETE")
    return [item.value for item in made.get_completions(before, begun)]


@pytest.fixture
def named(world):
    pools.edit(world.session, actor=OPERATOR, pool=world.pool, name="Autumn 2026 (50%_off)")
    world.session.commit()
    return world


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed_and_given_as_json(run, give, shell):
    script = give("completion", shell)["script"]

    assert run("completion", shell).out.strip() == script.strip()
    assert "_KEYPOOL_COMPLETE" in script


def test_commands_and_flags_are_completed(database):
    assert completions("rep") == ["reports"]
    assert "--organization" in completions("pools", "list", "--")


def test_names_are_completed_by_how_they_begin_in_any_letter_case(named):
    assert completions("pools", "show", "aut") == ["Autumn 2026 (50%_off)"]
    assert completions("pools", "show", "%") == []
    assert len(completions("pools", "list", "--organization", "")) >= 2
    assert completions("pools", "list", "--course", "") != []


def test_where_keypool_is_not_up_no_name_is_completed_and_nothing_is_started(tmp_path):
    asked = {"COMP_WORDS": "keypool pools show A", "COMP_CWORD": "3"}
    environment = {"PATH": os.environ["PATH"], "KEYPOOL_HOME": str(tmp_path), **asked}
    done = subprocess.run(
        [Path(sys.executable).with_name("keypool")],
        env=environment | {"_KEYPOOL_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_bash_inserts_a_name_as_one_word():
    made = completing.Bash(cli.keypool, {}, "keypool", "_KEYPOOL_COMPLETE")

    written = made.format_completion(completing.CompletionItem("Autumn 2026 (new)"))

    assert written == r"plain,Autumn\ 2026\ \(new\)"
