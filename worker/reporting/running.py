"""Running a notebook with nobody at it, and rendering what it showed as one HTML file."""

import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import database, errors, organizations
from worker.actors import Actor
from worker.reporting import logins, question
from worker.settings import settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LONGEST_CELL = 600  # seconds
LONGEST_FOLDER = 60  # characters; a socket's whole path has some 100 at most
# What a kernel needs of this process's environment. None of it opens anything.
INHERITED = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "TMPDIR", "SYSTEMROOT")


class ReportFailedError(errors.KeypoolError):
    """The notebook failed."""


def listing() -> list[dict[str, str]]:
    """List the notebooks that come with keypool: `{name, title, question}`."""
    return [_described(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


def run(
    name_or_path: str | Path,
    *,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
    output: str | Path | None = None,
    actor: Actor | None = None,
) -> Path:
    """Run a notebook of keypool's by name, or one's own by path, and give the HTML that it made.

    It reads one organization (by name or id) and its descendants, or all of them; days are
    inclusive, and without them it is the last year. Its kernel knows no login but the one that
    may read just that.

    Raises:
        NotFoundError: no such notebook, or no such organization within the actor's.
        InvalidInputError: a day is none, or the last comes before the first.
        ReportFailedError: a cell failed; the notebook as far as it came lies beside `output`.
        ReportLoginError: no login could be made for the organization.
    """
    notebook = _find(name_or_path)
    first, last = question.day(from_, field="from"), question.day(to, field="to")
    question.check(first, last)
    reader = actor or Actor.operator("keypool reports")
    organization_id, name = _organization(reader, organization)
    target = Path(output or f"{notebook.stem}.html").resolve()
    parameters = {
        "organization": name,
        "from_": first and first.isoformat(),
        "to": last and last.isoformat(),
    }
    with logins.login(organization_id) as url:
        executed = _execute(notebook, parameters, url, failed=target.with_suffix(".failed.ipynb"))
    return _write(target, render(executed))


def render(executed: "NotebookNode") -> str:
    """Give an executed notebook as one HTML page: no code, and nothing to load from elsewhere."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        extra_template_basedirs=[str(NOTEBOOKS)],
        template_name="page",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    page, _ = exporter.from_notebook_node(executed, {"metadata": {"name": title(executed)}})
    return str(page)


def title(notebook: "NotebookNode") -> str:
    """Give a notebook's title: its first heading."""
    return next(
        (found[1] for text in _texts(notebook) if (found := re.match(r"# +(.+)", text))), "Report"
    )


def _texts(notebook: "NotebookNode") -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def _described(path: Path) -> dict[str, str]:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    paragraphs = "\n\n".join(_texts(notebook)).split("\n\n")
    asked = next((text for text in paragraphs if not text.startswith("#")), "")
    return {"name": path.stem, "title": title(notebook), "question": " ".join(asked.split())}


def _find(name_or_path: str | Path) -> Path:
    given = Path(name_or_path)
    ours = NOTEBOOKS / f"{given}.ipynb"
    if len(given.parts) == 1 and ours.exists():
        return ours
    if given.suffix in (".ipynb", ".py") and given.exists():
        return given
    known = ", ".join(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")))
    raise errors.NotFoundError(
        f"There is no notebook “{name_or_path}”; name one of {known}, or a file that ends in .ipynb or .py."
    )


def _organization(actor: Actor, name: str | None) -> tuple[int | None, str | None]:
    """Give the id and name of the organization that a report is about; of none for all."""
    wanted = name or (actor.organization_id and str(actor.organization_id))
    if not wanted:
        return None, None
    with database.session() as session:
        found = organizations.find(session, actor=actor, name=wanted)
        return found.id, found.name


def _execute(
    notebook: Path, parameters: dict[str, Any], url: str, *, failed: Path
) -> "NotebookNode":
    import jupytext
    import nbformat
    import papermill

    with tempfile.TemporaryDirectory(prefix="keypool-report-", dir=_short()) as made:
        scratch = Path(made)
        given, executed = scratch / "given.ipynb", scratch / "executed.ipynb"
        nbformat.write(jupytext.read(notebook), given)
        try:
            papermill.execute_notebook(
                given,
                executed,
                parameters={k: v for k, v in parameters.items() if v is not None},
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=LONGEST_CELL,
                kernel_manager_class=_kernel(
                    _environment(url, scratch), notebook.resolve().parent, scratch
                ),
            )
        except papermill.PapermillExecutionError as error:
            _write(failed, executed.read_text())
            reason = f"{error.ename}: {error.evalue}".splitlines()[0]
            raise ReportFailedError(
                f"The notebook “{notebook.stem}” failed ({reason}); {failed} shows where."
            ) from None
        read: NotebookNode = nbformat.read(executed, as_version=4)
        return read


def _short() -> str | None:
    """Give the folder for temporary files, unless it is too deep for a socket's path."""
    return None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp"  # noqa: S108  # made 0700


def _environment(url: str, scratch: Path) -> dict[str, str]:
    """Give all that a kernel's environment holds: one login, and no way to this process's others."""
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "HOME": str(scratch),
        "XDG_CACHE_HOME": caches,  # matplotlib's list of fonts takes seconds to make
        "KEYPOOL_HOME": str(scratch),
        "KEYPOOL_ANALYST_DATABASE_URL": url,
        "KEYPOOL_CLOCK_OFFSET": str(settings().clock_offset.total_seconds()),
    }


def _kernel(environment: dict[str, str], folder: Path, scratch: Path) -> type:
    """Make the kind of kernel that runs this interpreter with that environment, in that folder."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        # Not the kernel that the user's own settings have under the same name.
        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            name="python3",
            display_name="Python 3",
            language="python",
        )

        def __init__(self, **options: Any) -> None:
            # Sockets in a folder that nobody else can open, instead of ports.
            super().__init__(**options, transport="ipc", connection_file=str(scratch / "kernel"))

        async def _async_start_kernel(self, **options: Any) -> None:
            options |= {"env": environment, "cwd": str(folder)}
            # A cell's errors come with its outputs; what is left is the kernel's own chatter.
            await super()._async_start_kernel(**options, stderr=subprocess.DEVNULL)

        start_kernel = _async_start_kernel

    return Kernel


def _write(path: Path, content: str) -> Path:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as draft:
        draft.write(content)
    Path(draft.name).chmod(0o644)
    return Path(draft.name).replace(path)
