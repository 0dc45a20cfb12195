"""keypool's domain, and the only code that changes the database."""

import os
import sys

# One time zone database (T3): the pinned package tzdata, never the host's files, here and in every
# process that is started from here. Python reads them where they are, and they are of any year.
os.environ["PYTHONTZPATH"] = ""
if zoneinfo := sys.modules.get("zoneinfo"):  # whoever imported it first has it search the host
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
