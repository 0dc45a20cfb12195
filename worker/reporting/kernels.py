"""The kernel of one run: an environment of its own, with one login and no way to others."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from worker.settings import settings

LONGEST_FOLDER = 60  # characters; a socket's whole path has some 100 at most
# What a kernel needs of this process's environment. None of it opens anything.
INHERITED = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "TMPDIR", "SYSTEMROOT")


def short_folder() -> str | None:
    """Give the folder for temporary files, unless it is too deep for a socket's path."""
    return None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp"  # noqa: S108  # made 0700


def environment(url: str, scratch: Path) -> dict[str, str]:
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


def kernel(told: dict[str, str], folder: Path, scratch: Path) -> type:
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
            options |= {"env": told, "cwd": str(folder)}
            # A cell's errors come with its outputs; what is left is the kernel's own chatter.
            await super()._async_start_kernel(**options, stderr=subprocess.DEVNULL)

        start_kernel = _async_start_kernel

    return Kernel
