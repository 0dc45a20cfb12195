"""Reading tables of keys or recipients: correctly, or refused with line and reason.

Enters: what turns bytes into keys and recipients (K1, K2, K5, K5a, K7). No database access.
"""

from worker.pools.reading.blocks import Keys, Line, in_chunks, joined
from worker.pools.reading.files import Kind
from worker.pools.reading.inputs import Column, Input, Read, columns, opened, pasted, typed
from worker.pools.reading.owners import Owner
from worker.pools.reading.people import unfit as unfit_recipient
from worker.pools.reading.read_as import NOTHING, Purpose, ReadAs, meanings
from worker.pools.reading.recipients import Recipient, Recipients, Wrong, wrong_rows
from worker.pools.reading.words import Meaning

__all__ = [
    "NOTHING",
    "Column",
    "Input",
    "Keys",
    "Kind",
    "Line",
    "Meaning",
    "Owner",
    "Purpose",
    "Read",
    "ReadAs",
    "Recipient",
    "Recipients",
    "Wrong",
    "columns",
    "in_chunks",
    "joined",
    "meanings",
    "opened",
    "pasted",
    "typed",
    "unfit_recipient",
    "wrong_rows",
]
