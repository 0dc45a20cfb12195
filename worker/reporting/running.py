"""Running a notebook unattended, and writing the result as one file."""

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import days, errors
from worker.database import connections
from worker.reporting import kernels, logins, notices, printing, rendering, scratches
from worker.tenancy import organizations
from worker.tenancy.actors import Actor

if TYPE_CHECKING:
    from nbformat import NotebookNode

CELL_TIMEOUT = 600  # seconds

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
    advance: Advance = untold,
) -> Path:
    """Run one of keypool's notebooks by name, or another one by path, and give the file written.

    It reads one organization (by name or id) and its descendants, or all. Days are inclusive; the
    default is the last year. Its kernel only has a login that may read exactly that.

    `format` is `html` or, if Chromium is installed, `pdf`.

    Raises:
        NotFoundError: no such notebook, or no such organization within the actor's.
        InvalidInputError: a day is malformed, or the last is before the first.
        ReportFailedError: nothing was made; the partly executed notebook is beside `output`.
        ReportLoginError: no login could be made for the organization.
        NoBrowserError: a PDF needs Chromium, and there is none.
        UnfencedError: the notebook is not keypool's, and no kernel can be fenced here.
    """
    notebook = _find(name_or_path)
    first, last = days.bare(from_, field="from"), days.bare(to, field="to")
    days.in_order(first, last)
    if format == "pdf":
        printing.browser()
    about, name = _organization(actor or Actor.operator("keypool reports"), organization)
    target = Path(output or f"{notebook.stem}.{format}").resolve()
    try:
        executed = execute(
            notebook, about=about, organization=name, first=first, last=last, advance=advance
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
    advance: Advance = untold,
    longest_cell: int = CELL_TIMEOUT,
) -> "NotebookNode":
    """Run a notebook about an organization (its id and name) with a temporary login.

    In the place of a cell that fails is a notice, and the others go on.

    `advance` is called before each cell with the cells done and the number of cells.

    Raises:
        ReportFailedError: no cell made anything, or one took too long or ended the kernel; with the traceback.
        UnfencedError: the notebook is not keypool's, and no kernel can be fenced here.
        ExtraMissingError: what runs notebooks is not installed.
    """
    parameters = {"organization": organization, "from_": first, "to": last}
    texts = {name: str(value) for name, value in parameters.items() if value is not None}
    with (
        logins.login(about) as url,
        scratches.scratch() as scratch,
        kernels.kernel(notebook, url, scratch) as kernel,
    ):
        return _executed(notebook, texts, kernel, scratch, advance, longest_cell)


def write(path: Path, content: bytes) -> Path:
    """Write a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).chmod(0o644)
    return Path(draft.name).replace(path)


def _executed(
    notebook: Path,
    parameters: dict[str, str],
    kernel: kernels.Kernel,
    scratch: Path,
    advance: Advance,
    longest_cell: int,
) -> "NotebookNode":
    with errors.of_extra("notebooks"):
        import jupytext
        import nbformat
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError

    parameterized, made = scratch / "given.ipynb", scratch / "executed.ipynb"
    source = jupytext.read(notebook)
    notices.go_on(source)
    nbformat.write(source, parameterized)
    cells = len(source.cells) + bool(parameters)
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
            on_cell_start=lambda cell_index, **_: advance(cell_index, cells),
        )
    except papermill.PapermillExecutionError as error:
        read = _read(made)
        if not notices.leave(read, name=notebook.stem):
            raise _failure(notebook.stem, error, made.read_text(encoding="utf-8")) from None
        return read
    except (CellTimeoutError, DeadKernelError) as error:
        far = made if made.exists() else parameterized
        raise _failure(notebook.stem, error, far.read_text(encoding="utf-8")) from None
    return _read(made)


def _read(path: Path) -> "NotebookNode":
    import nbformat

    read: NotebookNode = nbformat.read(path, as_version=4)
    return read


def _failure(name: str, error: Any, as_far_as_it_came: str) -> ReportFailedError:
    lines = getattr(error, "traceback", None) or [str(error)]
    said = f"{error.ename}: {error.evalue}" if hasattr(error, "ename") else str(error).strip()
    failure = ReportFailedError(f"The notebook “{name}” failed ({said.splitlines()[0]})")
    failure.traceback = notices.plain(lines)
    failure.as_far_as_it_came = as_far_as_it_came
    return failure


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
