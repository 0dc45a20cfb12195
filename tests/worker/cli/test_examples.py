"""Every command's help ends with two examples, and each is a command that is taken as it stands."""

import shlex
from pathlib import Path

import pytest

from tests.worker.cli.test_frame import commands
from worker import cli
from worker.cli import examples

FILES = ("people.csv", "keys.csv", "keys.xlsx", "welcome.txt", "bye.txt", "events.ndjson")
COMMANDS = [" ".join(words) for words in commands()]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that examples name, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYPOOL_PASSWORD", "correct horse battery staple")
    for name in FILES:
        Path(name).touch()


def test_there_are_two_examples_of_each_command_and_of_no_other():
    assert sorted(examples.EXAMPLES) == sorted(["", *COMMANDS])
    assert all(len(set(two)) == len(two) == 2 for two in examples.EXAMPLES.values())


def parsed(words):
    """Let click read words as the root would, and give the path of the command that takes them."""
    command, context = cli.keypool, cli.keypool.make_context("keypool", list(words))
    while hasattr(command, "list_commands"):
        name, command, rest = command.resolve_command(context, words)
        context, words = command.make_context(name, list(rest), parent=context), rest
    return context.command_path.removeprefix("keypool ")


@pytest.mark.parametrize("path", ["", *COMMANDS])
def test_an_example_is_read_by_the_command_that_it_shows(path, files):
    for example in examples.EXAMPLES[path]:
        taken = parsed(shlex.split(example))

        assert taken == path or path == ""


@pytest.mark.parametrize("words", [(), ("pools",), ("secrets",), ("pools", "create"), ("audit",)])
def test_help_ends_with_two_examples_that_a_shell_takes(words, capsys, files):
    cli.answer([*words, "--help"])

    _, _, told = capsys.readouterr().out.partition(" Examples\n")
    shown = [part for part in told.replace("\\\n", " ").splitlines() if part.strip()]
    assert len(shown) == 2
    assert max(map(len, told.splitlines())) <= 80
    for line in shown:
        keypool, *rest = shlex.split(line)
        assert keypool == "keypool"
        assert parsed(rest).startswith(" ".join(words))
