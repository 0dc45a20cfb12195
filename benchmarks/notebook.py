"""One notebook in a process that imports nothing besides: what its maker takes is measured, too."""

import os
import tempfile
from pathlib import Path

from worker import reporting

NAME = "BENCHMARK_NOTEBOOK"


def run_one() -> None:
    """Run the notebook that the environment names."""
    with tempfile.TemporaryDirectory() as folder:
        reporting.run(os.environ[NAME], output=Path(folder) / "report.html")
