"""Running a notebook unattended, and writing the result as one file."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import days, errors
from worker.database import connections
from worker.reporting import kernels, logins, notices, printing, rendering, scratches
from worker.reporting.lake import sharing
from worker.reporting.parameters import Value, Values, declared, taken
from worker.tenancy import organizations
from worker.tenancy.actors import Actor

if TYPE_CHECKING:
    from nbformat import NotebookNode

CELL_TIMEOUT = 600  # seconds
LEFT_OUT = "Left out, since too many cells before it ended their kernel."
MOST_ENDED = 3  # cells that may end their kernel; after so many, the rest is left out

Advance = Callable[[int, int], None]  # called with the cells done and the number of cells


def untold(_worked: int, _cells: int) -> None:
    """Ignore progress."""


class ReportFailedError(errors.KeypoolError):
    """The notebook failed."""

    traceback = ""
    as_far_as_it_came = ""  # the notebook, as JSON


def run(
    name_or_path: str | Path,
    *,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
    output: str | Path | None = None,
    format: str = "html",
    actor: Actor | None = None,
    parameters: Mapping[str, Value] | None = None,
    advance: Advance = untold,
) -> Path:
    """Run one of keypool's notebooks by name, or another one by path, and give the file written.

    It reads one organization (by name or id) and its descendants, or all. Days are inclusive; the
    default is the last year. Its kernel only has a login that may read exactly that.

    `format` is `html` or, if Chromium is installed, `pdf`. `parameters` are the notebook's own.

    Raises:
        NotFoundError: no such notebook, or no such organization within the actor's.
        InvalidInputError: a day is malformed, the last is before the first, or a parameter is unknown.
        ReportFailedError: nothing was made; the partly executed notebook is beside `output`.
        ReportLoginError: no login could be made for the organization.
        NoBrowserError: a PDF needs Chromium, and there is none.
        UnfencedError: the notebook is not keypool's, and no kernel can be fenced here.
    """
    notebook = _find(name_or_path)
    first, last = days.bare(from_, field="from"), days.bare(to, field="to")
    days.in_order(first, last)
    own = taken(parameters, known=_declared(notebook), notebook=notebook.stem) if parameters else {}
    if format == "pdf":
        printing.browser()
    about, name = _organization(actor or Actor.operator("keypool reports"), organization)
    target = Path(output or f"{notebook.stem}.{format}").resolve()
    try:
        executed = execute(
            notebook,
            about=about,
            organization=name,
            first=first,
            last=last,
            parameters=own,
            advance=advance,
        )
    except ReportFailedError as error:
        failed = write(target.with_suffix(".failed.ipynb"), error.as_far_as_it_came.encode())
        raise ReportFailedError(f"{error}; {failed} shows where.") from None
    page = rendering.render(executed)
    return write(target, printing.pdf(page) if format == "pdf" else page.encode())


def execute(
    notebook: Path,
    *,
    about: int | None,
    organization: str | None,
    first: date | None,
    last: date | None,
    parameters: Values | None = None,
    advance: Advance = untold,
    longest_cell: int = CELL_TIMEOUT,
) -> "NotebookNode":
    """Run a notebook about an organization (its id and name) with a temporary login.

    In the place of a cell that fails is a notice, and the others go on. Where one takes too long or ends its
    kernel (for instance out of memory), a new kernel runs the notebook without that cell.

    `advance` is called before each cell with the cells done and the number of cells.

    Raises:
        ReportFailedError: no cell made anything; with the traceback.
        UnfencedError: the notebook is not keypool's, and no kernel can be fenced here.
        ExtraMissingError: what runs notebooks is not installed.
    """
    asked = {"organization": organization, "from_": first, "to": last}
    own: Values = {name: str(value) for name, value in asked.items() if value is not None}
    given = (parameters or {}) | own
    ended: notices.Ended = {}
    while True:
        with (
            logins.login(about) as url,
            scratches.scratch() as scratch,
            _kernel(notebook, url, scratch, about=about, first=first) as kernel,
        ):
            try:
                return _executed(
                    notebook,
                    given,
                    kernel,
                    scratch,
                    advance,
                    longest_cell,
                    ended,
                )
            except _KernelEndedError as error:
                rest = range(error.cell + 1, error.cells if len(ended) + 1 >= MOST_ENDED else 0)
                ended = ended | {error.cell: error.why} | dict.fromkeys(rest, LEFT_OUT)


def write(path: Path, content: bytes) -> Path:
    """Write a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).chmod(0o644)
    return Path(draft.name).replace(path)


def _kernel(
    notebook: Path, url: str, scratch: Path, *, about: int | None, first: date | None
) -> AbstractContextManager[kernels.Kernel]:
    lake, readable = sharing.shown(about, first, scratch)
    return kernels.kernel(notebook, url, scratch, lake=lake, readable=readable)


class _KernelEndedError(Exception):
    """A cell ended its kernel: its number, how many there are, and why."""

    def __init__(self, cell: int, cells: int, why: str) -> None:
        super().__init__(why)
        self.cell, self.cells, self.why = cell, cells, why


def _executed(
    notebook: Path,
    parameters: Values,
    kernel: kernels.Kernel,
    scratch: Path,
    advance: Advance,
    longest_cell: int,
    ended: notices.Ended,
) -> "NotebookNode":
    with errors.of_extra("notebooks"):
        import jupytext
        import nbformat
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError

    parameterized, made = scratch / "given.ipynb", scratch / "executed.ipynb"
    source = jupytext.read(notebook)
    notices.go_on(source, without=ended)
    nbformat.write(source, parameterized)
    cells = len(source.cells) + bool(parameters)
    begun: list[NotebookNode] = []

    def begin(cell: "NotebookNode", cell_index: int, **_: object) -> None:
        begun.append(cell)
        advance(cell_index, cells)

    failure: Exception | None = None
    try:
        papermill.execute_notebook(
            parameterized,
            made,
            parameters=parameters,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            execution_timeout=longest_cell,
            kernel_manager_class=kernels.manager(kernel),
            on_cell_start=begin,
        )
    except papermill.PapermillExecutionError as error:
        failure = error
    except (CellTimeoutError, DeadKernelError) as error:
        why = f"{type(error).__name__}: {error}\nin this cell:\n{begun[-1].source}"
        number = notices.number(begun[-1])
        if number is None:  # not even the parameters were read
            far = parameterized.read_text(encoding="utf-8")
            raise _failure(notebook.stem, None, {0: why}, far) from None
        raise _KernelEndedError(number, len(source.cells), why) from None
    read = _read(made)
    if (failure or ended) and not notices.leave(read, name=notebook.stem, ended=ended):
        raise _failure(notebook.stem, failure, ended, made.read_text(encoding="utf-8")) from None
    return read


def _read(path: Path) -> "NotebookNode":
    import nbformat

    read: NotebookNode = nbformat.read(path, as_version=4)
    return read


def _failure(
    name: str, error: Any, ended: notices.Ended, as_far_as_it_came: str
) -> ReportFailedError:
    """Say that a notebook made nothing, by what failed in it, else by what ended its kernel."""
    lines = list(error.traceback) if error else [*ended.values()]
    said = f"{error.ename}: {error.evalue}" if error else lines[0]
    failure = ReportFailedError(f"The notebook “{name}” failed ({said.splitlines()[0]})")
    failure.traceback = notices.plain(lines)
    failure.as_far_as_it_came = as_far_as_it_came
    return failure


def _declared(notebook: Path) -> Values:
    with errors.of_extra("notebooks"):
        import jupytext

    return declared(jupytext.read(notebook))


def _find(name_or_path: str | Path) -> Path:
    as_path = Path(name_or_path)
    if named := rendering.find(str(name_or_path)):
        return named
    if as_path.suffix in (".ipynb", ".py") and as_path.exists():
        return as_path
    known = ", ".join(path.stem for path in rendering.notebooks())
    raise errors.NotFoundError(
        f"There is no notebook “{name_or_path}”; name one of {known}, or a file that ends in .ipynb or .py."
    )


def _organization(actor: Actor, name: str | None) -> tuple[int | None, str | None]:
    """Give the id and name of the report's organization; None for all."""
    name_or_id = name or (actor.organization_id and str(actor.organization_id))
    if not name_or_id:
        return None, None
    with connections.session() as session:
        found = organizations.find(session, actor=actor, name=name_or_id)
        return found.id, found.name
