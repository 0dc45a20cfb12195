"""The kernel of one run: its own environment, with one database login and no other secrets."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from worker.settings import settings

LONGEST_FOLDER = 60  # characters; a socket's path has about 100 at most
# Variables of this process's environment that a kernel needs. None is a secret.
INHERITED = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "TMPDIR", "SYSTEMROOT")


def short_folder() -> str | None:
    """Give /tmp if the folder for temporary files has too long a path for sockets; else None."""
    return None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp"  # noqa: S108  # made 0700


def environment(url: str, scratch: Path) -> dict[str, str]:
    """Give a kernel's whole environment: one login, and none of this process's others."""
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "HOME": str(scratch),
        "XDG_CACHE_HOME": caches,  # matplotlib's font cache takes seconds to build
        "KEYPOOL_HOME": str(scratch),
        "KEYPOOL_ANALYST_DATABASE_URL": url,
        "KEYPOOL_CLOCK_OFFSET": str(settings().clock_offset.total_seconds()),
    }


def kernel(variables: dict[str, str], folder: Path, scratch: Path) -> type:
    """Make a kernel manager that runs this interpreter with that environment, in that folder."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        # Not a kernel of the same name in the user's own settings.
        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            name="python3",
            display_name="Python 3",
            language="python",
        )

        def __init__(self, **options: Any) -> None:
            # Unix sockets in a private folder, instead of ports.
            super().__init__(**options, transport="ipc", connection_file=str(scratch / "kernel"))

        async def _async_start_kernel(self, **options: Any) -> None:
            options |= {"env": variables, "cwd": str(folder)}
            # A cell's errors are in its outputs; the rest is the kernel's own messages.
            await super()._async_start_kernel(**options, stderr=subprocess.DEVNULL)

        start_kernel = _async_start_kernel

    return Kernel
