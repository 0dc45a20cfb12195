"""keypool's domain, and the only code that changes the database."""

import gc
import os
import sys

# What imports make stays, and what a request or a task makes is mostly freed by its last reference: to look
# for garbage as often as Python has it takes a fifth of the time in which a process starts.
gc.set_threshold(100_000)

# One time zone database (T3): the pinned package tzdata, never the host's files, which may be old. The
# environment passes this on to child processes.
os.environ["PYTHONTZPATH"] = ""
if zoneinfo := sys.modules.get("zoneinfo"):  # an earlier import has it search the host's files
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
