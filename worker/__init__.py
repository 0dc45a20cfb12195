"""keypool's domain, and the only code that changes the database."""

import os
import sys

# One time zone database (T3): the pinned package tzdata, never the host's files, which may be old. The
# environment passes this on to child processes.
os.environ["PYTHONTZPATH"] = ""
if zoneinfo := sys.modules.get("zoneinfo"):  # an earlier import has it search the host's files
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
