"""Runs one piece of work in a process of its own, and tells its seconds, its processor time and its memory."""

import importlib
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.frame import busy_seconds, children_mb, memory_mb, seconds

if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    work = getattr(importlib.import_module(module), name)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # its log
        told = {
            "seconds": seconds(work),
            "busy": busy_seconds(),
            "memory_mb": memory_mb() + children_mb(),
        }
    json.dump(told, sys.stdout)
