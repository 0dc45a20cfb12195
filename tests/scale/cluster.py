"""A cluster of two workers on this machine, whose lines are its loopback."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLDEST_JAVA = 17  # that Spark runs on
MISSING = (
    f"make scale needs Java {OLDEST_JAVA} or newer, on which Spark runs:"
    " install it, or name its folder in JAVA_HOME."
)
MASTER = "local-cluster[2,1,1024]"  # workers, processors of each, MB of each
SETTINGS = {
    "spark.executor.memory": "1g",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.shuffle.partitions": "2",
}


def refusal() -> str | None:
    """Say what this machine lacks for a cluster; None if nothing."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if not java or not Path(java).exists():
        return MISSING
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    return None if version and int(version[1]) >= OLDEST_JAVA else MISSING


@contextmanager
def running(folder: Path) -> Iterator["SparkSession"]:
    """Start a cluster, and end it; `folder` is for what its processes write."""
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    os.environ |= {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(MASTER).appName("keypool")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.config("spark.local.dir", str(folder)).getOrCreate()
    try:
        yield session
    finally:
        session.stop()
