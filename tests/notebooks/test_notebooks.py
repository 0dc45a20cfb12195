"""What every notebook that comes with keypool promises."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from nbmake.nb_run import NotebookRun

from tests import world as worlds
from tests.conftest import Addresses, cloned, using
from worker import simulation
from worker.database import connections as databases
from worker.redemption import deciding

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PAIRED = sorted(NOTEBOOKS.glob("*.py"))
LONGEST_CELL = 7  # lines


@pytest.fixture(params=PAIRED, ids=lambda path: path.stem)
def paired(request: pytest.FixtureRequest) -> Path:
    return request.param


def cells(path: Path) -> list[tuple[str, str, list[str]]]:
    notebook = jupytext.read(path)
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


def test_every_notebook_is_there_as_text_and_as_ipynb():
    assert [path.stem for path in PAIRED] == [p.stem for p in sorted(NOTEBOOKS.glob("*.ipynb"))]


def test_the_ipynb_is_what_the_text_says(paired):
    assert cells(paired.with_suffix(".ipynb")) == cells(paired)


def test_the_ipynb_keeps_no_outputs(paired):
    notebook = nbformat.read(paired.with_suffix(".ipynb"), as_version=4)

    assert [c for c in notebook.cells if c.get("outputs") or c.get("execution_count")] == []


def test_it_opens_with_its_title_and_question(paired):
    kind, source, _ = cells(paired)[0]

    assert kind == "markdown"
    assert source.startswith("# ")
    assert source.endswith("?")


def test_its_first_code_cell_has_the_parameters(paired):
    _, source, tags = next(cell for cell in cells(paired) if cell[0] == "code")

    assert tags == ["parameters"]
    assert [line.split(" = ")[0] for line in source.splitlines()] == ["organization", "from_", "to"]


def test_its_cells_are_short_and_every_answer_has_its_question_and_its_reading(paired):
    told = cells(paired)

    assert [source for kind, source, _ in told if len(source.splitlines()) > LONGEST_CELL] == []
    for n, (kind, source, _) in enumerate(told):
        if source.startswith("## "):
            following = [kind for kind, *_ in told[n + 1 :]]
            assert following[0] == "code", source
            assert "markdown" in following, source
    assert told[-1][0] == "markdown"


# Run by nbmake, from top to bottom and with no parameters: on a year each from a fresh kernel, as who opens
# them does, and on little one after the other in one kernel, since kernels take longer to start than to answer.


def nothing() -> None:
    """An empty database."""


def one_day() -> None:
    """One key that was redeemed just now."""
    with databases.session() as session:
        world = worlds.build(session)
        event = world.request(world.keys(3)[0], "ann@example.com")
        deciding.settle(session, event_ids=[event])


def a_year() -> None:
    """A year, invoiced."""
    databases.transaction(simulation.simulate, organizations=4, months=12, redemptions=1500, seed=2)
    simulation.bill()


@contextmanager
def filled(fill: Callable[[], None], servers: Addresses, template: str) -> Iterator[None]:
    with cloned(servers, template) as addresses, using(addresses):
        fill()
        with only_the_analysts_login():
            yield


@pytest.fixture(scope="module")
def a_whole_year(servers: Addresses, template: str) -> Iterator[None]:
    with filled(a_year, servers, template):
        yield


@pytest.fixture(scope="module", params=[nothing, one_day], ids=lambda fill: fill.__name__)
def ran_on_little(
    request: pytest.FixtureRequest,
    servers: Addresses,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Callable[[], None], dict[str, str]]:
    """Give what was there, and what each notebook shows of it."""
    together, path = new_notebook(), tmp_path_factory.mktemp("notebooks") / "all.ipynb"
    for notebook in PAIRED:
        own = nbformat.read(notebook.with_suffix(".ipynb"), as_version=4).cells
        for cell in [new_code_cell("%reset -f"), *own]:
            cell.metadata["of"] = notebook.stem
            together.cells.append(cell)
    nbformat.write(together, path)

    with filled(request.param, servers, template):
        ran = NotebookRun(path, default_timeout=120).execute()

    assert ran.error is None
    shown = {notebook.stem: "" for notebook in PAIRED}
    for cell in ran.nb.cells:
        shown[cell.metadata["of"]] += str(cell.get("outputs"))
    return request.param, shown


@contextmanager
def only_the_analysts_login() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("DATABASE_URL", "WEB_DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
            patch.delenv(f"KEYPOOL_{variable}")
        yield


def test_it_runs_from_top_to_bottom(a_whole_year, paired):
    ran = NotebookRun(paired.with_suffix(".ipynb"), default_timeout=120).execute()

    assert ran.error is None
    assert "text/html" in str([cell.get("outputs") for cell in ran.nb.cells])


def test_it_runs_from_top_to_bottom_on_little(ran_on_little, paired):
    there, shown = ran_on_little

    assert "text/html" in shown[paired.stem]
    if there is nothing:
        assert "othing yet" in shown[paired.stem]
