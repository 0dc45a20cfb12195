"""Notebooks of one's own: their parameters, through every door, and how they are saved."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import nbformat
import pytest

from tests.world import OPERATOR, build
from worker import errors, reporting
from worker.database import connections as databases
from worker.learning import learners
from worker.reporting import claims, keeping, parameters, rendering
from worker.settings import settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "reports.md"
KNOWN: parameters.Values = {"at_least": 1, "share": 0.5, "email": "x", "all": False, "day": None}


@pytest.fixture(scope="module")
def sources() -> str:
    """The whole notebook of the documentation."""
    [found] = re.findall(
        r"```python\n(# %% \[markdown\]\n# # Sources.*?)```", DOCUMENT.read_text(), re.S
    )
    return found


@pytest.fixture
def folder(sources, tmp_path, monkeypatch) -> Path:
    """A folder of one's own with that notebook, which the settings name."""
    nbformat.write(jupytext.reads(sources, fmt="py:percent"), tmp_path / "sources.ipynb")
    monkeypatch.setenv("KEYPOOL_NOTEBOOKS", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def test_the_documented_notebook_is_listed_asked_for_and_made_with_its_parameter(
    fresh_database, folder
):
    with databases.session() as session:
        world = build(session)
        world.redeemed("ann@example.org")
        world.redeemed("bob@example.org")
    about: dict[str, Any] = {
        "actor": OPERATOR,
        "notebook": "sources",
        "organization": str(world.parent),
    }
    [listed] = [it for it in rendering.listing() if it["name"] == "sources"]

    some = databases.transaction(keeping.ask, **about, parameters={"at_least": "2"})
    reporting.make_next(only=int(some["id"]))

    assert listed["parameters"] == {"at_least": 1}
    assert some["parameters"] == {"at_least": 2}
    page = databases.transaction(keeping.page, actor=OPERATOR, report=some["id"])
    assert re.search(r"<td[^>]*>shop</td>\s*<td[^>]*>2</td>", page)
    assert 'alt="Redeemed keys by source: shop 2."' in page
    with pytest.raises(errors.InvalidInputError, match="it has at_least"):
        databases.transaction(keeping.ask, **about, parameters={"least": "2"})


def test_one_of_keypools_own_notebooks_has_no_parameter_of_its_own(session):
    with pytest.raises(errors.InvalidInputError, match="it has none of its own"):
        keeping.ask(session, actor=OPERATOR, notebook="usage", parameters={"organization": "x"})


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("at_least", "10", 10), ("at_least", 10, 10), ("share", "1", 1.0), ("share", 1, 1.0),
        ("email", "5", "5"), ("all", "True", True), ("all", False, False), ("day", "2026-01-01", "2026-01-01"),
        ("at_least", None, None),
    ],
)  # fmt: skip
def test_a_parameter_is_read_as_what_its_default_is(name, given, taken):
    read = parameters.taken({name: given}, known=KNOWN, notebook="mine")

    assert read == {name: taken}
    assert type(read[name]) is type(taken)


@pytest.mark.parametrize(
    ("name", "given"),
    [("at_least", "ten"), ("at_least", "1.5"), ("at_least", True), ("share", "half"), ("all", "yes")],
)  # fmt: skip
def test_a_parameter_of_another_kind_is_refused_with_the_default(name, given):
    with pytest.raises(errors.InvalidInputError, match=f"kind of “{name}”"):
        parameters.taken({name: given}, known=KNOWN, notebook="mine")


@pytest.mark.parametrize("pair", ["at_least", "=1", "  =1"])
def test_what_is_no_pair_is_refused_with_its_line(pair):
    with pytest.raises(errors.InvalidInputError, match=r"Parameter 3, .* is no name=value"):
        parameters.split({3: pair})


def test_a_parameter_that_is_named_twice_is_refused():
    with pytest.raises(errors.InvalidInputError, match=r"Parameter 2, .* names it again"):
        parameters.split({1: "a=b=c", 2: "a=d"})


def test_the_parameters_of_a_notebook_are_those_that_its_tagged_cell_assigns():
    source = (
        '# %% tags=["parameters"]\norganization = None\nat_least = 2\nlow = -1.5\nnow = today()\nmany = [1]\n'
        "a, b = 1, 2\n# %%\nother = 1\n"
    )

    assert parameters.declared(jupytext.reads(source, fmt="py:percent")) == {
        "at_least": 2,
        "low": -1.5,
    }


def test_an_erased_address_is_erased_from_the_parameters_of_a_report(session):
    world = build(session)
    world.redeemed("leaver@example.org")
    asked = keeping.ask(session, actor=OPERATOR, notebook="usage", organization=str(world.parent))
    claim = claims.take(session, only=int(asked["id"]))
    assert claim is not None
    given = {"who": "Leaver@example.org", "n": 1}
    session.get_one(keeping.ReportRun, claim.id).parameters = given
    session.flush()

    gone = learners.erase(session, actor=OPERATOR, email="leaver@example.org")["pseudonym"]

    session.expire_all()
    kept = keeping.show(session, actor=OPERATOR, report=asked["id"])["parameters"]
    assert kept == {"who": gone, "n": 1}


def test_jupyter_saves_a_notebook_without_its_outputs(database):
    config = SimpleNamespace(ContentsManager=SimpleNamespace())
    folder = rendering.NOTEBOOKS / "jupyter"
    runpy.run_path(
        str(folder / "jupyter_server_config.py"), init_globals={"get_config": lambda: config}
    )
    output = nbformat.v4.new_output("execute_result", {"text/plain": "ann@example.org"})
    cell = nbformat.v4.new_code_cell("frame", outputs=[output], execution_count=3)
    made = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("Who?")])
    save = config.ContentsManager.pre_save_hook

    save(model={"type": "notebook", "content": made}, path="mine.ipynb", contents_manager=None)
    save(model={"type": "file", "content": "as it is"}, path="mine.txt", contents_manager=None)

    assert "ann@example.org" not in nbformat.writes(made)
    assert (cell.source, cell.execution_count) == ("frame", None)
    assert str(folder) in reporting.analysts_environment()["JUPYTER_CONFIG_PATH"]
