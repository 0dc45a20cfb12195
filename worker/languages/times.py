"""When something is, in words: an instant in somebody's time zone, or a whole day where it is one."""

from datetime import datetime
from zoneinfo import ZoneInfo

from worker import days
from worker.languages.phrasebooks import Phrasebook


def on(book: Phrasebook, end: datetime, zone: str) -> str:
    """Say when something ends: “on 26 Feb 2027, 11:10 (Europe/Berlin)”, or at the end of a day."""
    if day := days.ended_by(end, zone):
        return book.say("at the end of {day} ({zone})", day=book.short_day(day), zone=zone)
    return book.say("on {moment} ({zone})", moment=book.moment(end, zone), zone=zone)


def until(book: Phrasebook, end: datetime, zone: str) -> str:
    """Say how long something goes on: “until the end of 31 Dec 2026 (Europe/Berlin)”."""
    if day := days.ended_by(end, zone):
        return book.say("until the end of {day} ({zone})", day=book.short_day(day), zone=zone)
    return book.say("until {moment} ({zone})", moment=book.moment(end, zone), zone=zone)


def before(book: Phrasebook, start: datetime, zone: str) -> str:
    """Say what comes first: “before 1 Dec 2026 (Europe/Berlin)”."""
    local = start.astimezone(ZoneInfo(zone)).date()
    if days.day_start(local, zone) == start:
        return book.say("before {day} ({zone})", day=book.short_day(local), zone=zone)
    return book.say("before {moment} ({zone})", moment=book.moment(start, zone), zone=zone)
