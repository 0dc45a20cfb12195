"""Lists that are watched: drawn again until Ctrl-C, and once where there is no terminal."""

import io

from rich.console import Console

from tests.worker.cli.test_frame import on_terminal
from worker.cli import watching
from worker.cli.pools import POOLS


def pool(name):
    """Give a pool's row as a page of a list."""
    figures = dict.fromkeys(("issued", "distributed", "redeemed", "retired"), 1)
    return {"items": [{"id": "1", "name": name, "keys": figures}], "next": None}


def test_what_is_watched_is_drawn_anew_every_two_seconds_until_it_is_interrupted():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    pages = iter([pool("Autumn"), pool("Winter")])
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    watching.redraw(lambda: next(pages), POOLS, console, wait=wait)

    drawn = console.file.getvalue()
    assert waited == [2, 2]
    assert drawn.index("Autumn") < drawn.index("\x1b[1A") < drawn.index("Winter")


def test_a_terminal_shows_the_pools_until_ctrl_c(world):
    drawn, code = on_terminal("pools", "list", "--watch", interrupt="redeemed")

    assert code == 0
    assert "Traceback" not in drawn


def test_without_a_terminal_a_list_is_printed_once_and_that_is_said(run, world):
    done = run("pools", "list", "--watch")

    assert done.code == 0
    assert done.err == "Without a terminal, or as JSON, the list is printed once.\n"
    assert done.out == run("pools", "list").out
