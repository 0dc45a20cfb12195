"""The kernel of one run: fenced, with an environment of its own, one database login and no other secrets."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker import errors
from worker.logs import log
from worker.machine import fence
from worker.reporting import rendering
from worker.settings import settings

# Variables of this process's environment that a kernel needs. None is a secret.
INHERITED = ("PATH", "LANG", "LC_ALL")


class UnfencedError(errors.KeypoolError):
    """A notebook that does not come with keypool runs only where its kernel can be fenced."""


@dataclass(frozen=True)
class Kernel:
    """How to start a kernel: its folder, its connection file, its environment and its command."""

    folder: Path
    connection_file: Path
    environment: dict[str, str]
    command: list[str]


@contextmanager
def kernel(
    notebook: Path,
    url: str,
    scratch: Path,
    *,
    lake: Path | None = None,
    readable: tuple[Path, ...] = (),
) -> Iterator[Kernel]:
    """Prepare the kernel of a notebook, fenced, with the one login of `url`, and what it may read of a lake.

    Where this machine cannot fence, keypool's own notebooks run all the same, with a warning.

    Raises:
        UnfencedError: it cannot, and the notebook is not keypool's.
    """
    root, own = scratch / "root", scratch / "kernel"
    root.mkdir()
    own.mkdir()
    launcher = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    shown = _shown(notebook.resolve().parent)
    if reason := fence.obstacle():
        _refuse_strangers(notebook, reason)
        yield Kernel(shown or own, own / "connection", _environment(url, own, lake), launcher)
        return
    with fence.gate(url, own) as (inside, forwards):
        fenced = fence.Fence(
            root,
            readable=(*((shown,) if shown else ()), *readable),
            writable=(own,),
            folder=shown or own,
            forwards=forwards,
        )
        command = fenced.command(*launcher)
        yield Kernel(own, own / "connection", _environment(inside, own, lake), command)


def manager(prepared: Kernel) -> type:
    """Make a kernel manager that starts a kernel as prepared."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        # Not a kernel of the same name in the user's own settings.
        kernel_spec = KernelSpec(
            argv=prepared.command, name="python3", display_name="Python 3", language="python"
        )

        def __init__(self, **options: Any) -> None:
            # Unix sockets in a private folder, instead of ports.
            file = str(prepared.connection_file)
            super().__init__(**options, transport="ipc", connection_file=file)

        async def _async_start_kernel(self, **options: Any) -> None:
            options |= {"env": prepared.environment, "cwd": str(prepared.folder)}
            # A cell's output and errors are in the notebook; the rest is the kernel's own messages.
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            await super()._async_start_kernel(**options, **silent)

        start_kernel = _async_start_kernel

    return Manager


def _environment(url: str, own: Path, lake: Path | None) -> dict[str, str]:
    """Give a kernel's whole environment: one login, and none of this process's others."""
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "PYTHONPATH": str(fence.ROOT),
        "HOME": str(own),
        "XDG_CACHE_HOME": str(_caches(own)),
        "KEYPOOL_HOME": str(own),
        **({"KEYPOOL_LAKE": str(lake)} if lake else {}),
        "KEYPOOL_ANALYST_DATABASE_URL": url,
        "KEYPOOL_CLOCK_OFFSET": str(settings().clock_offset.total_seconds()),
        "KEYPOOL_LOCAL_URL": settings().local_url,
        "KEYPOOL_PUBLIC_URL": settings().public_url or "",
    }


def _caches(own: Path) -> Path:
    """Copy matplotlib's list of fonts, which takes seconds to build, and which a kernel cannot change."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "matplotlib"
    copied = own / "cache" / "matplotlib"
    if usual.is_dir():
        shutil.copytree(usual, copied, ignore=shutil.ignore_patterns("*.lock", "tex.cache"))
    return copied.parent


def _shown(folder: Path) -> Path | None:
    """Give a notebook's folder, whose files it may read; None if a home is in it, or it in keypool's."""
    homes = [settings().home.resolve(), Path.home().resolve()]
    if any(home.is_relative_to(folder) for home in homes) or folder.is_relative_to(homes[0]):
        return None
    return folder


def _refuse_strangers(notebook: Path, reason: str) -> None:
    if not rendering.is_ours(notebook):
        raise UnfencedError(
            f"“{notebook.name}” does not come with keypool, so it runs only where its kernel can be fenced; "
            f"this machine allows no user namespaces ({reason}). See docs/reports.md."
        )
    log.warning("kernel not fenced", notebook=notebook.stem, reason=reason)
