"""Commands that list things have an option for each filter of the noun."""

import re

import pytest

from worker import cli
from worker.cli.lists import ChoosingCommand


def test_a_filter_that_is_a_label_takes_the_labels_there_are(run):
    done = run("keys", "list", "1", "--state", "lost")

    assert done.code == 2
    assert "issued" in done.err
    assert "redeemed" in done.err


def test_a_list_is_sorted_by_what_it_can_be_sorted_by(run):
    done = run("pools", "list", "--sort", "colour")

    assert done.code == 2
    assert "expires_at" in done.err


def test_the_help_of_a_list_says_what_each_filter_chooses(capsys):
    assert cli.answer(["pools", "list", "--help"]) == 0

    told = " ".join(re.sub("[│─╭╮╰╯]", " ", capsys.readouterr().out).split())
    for words in ("--search", "Pieces of the name, in any", "--sort", "--after"):
        assert words in told


def test_a_command_is_given_its_filters_as_one_object(give, world):
    give("keys", "add", world.pool, "LIST-0001-A", "LIST-0002-B")
    give("keys", "distribute", world.pool, "ann@example.com")

    listed = give("keys", "list", world.pool, "--state", "issued", "--recipient", "ann@example.com")

    assert [item["recipient"] for item in listed["items"]] == ["ann@example.com"]


@pytest.mark.parametrize(("command", "pages"), [("list", True), ("export", False)])
def test_what_is_exported_has_the_filters_of_the_list_and_no_pages(command, pages):
    import rich_click as click

    from worker.cli.keys import command as group

    made = group.get_command(click.Context(group), command)
    assert isinstance(made, ChoosingCommand)

    names = {one.name for one in made.get_params(click.Context(made))}

    assert {"state", "undistributed", "recipient", "reference"} <= names
    assert ({"sort", "limit", "after"} <= names) is pages
