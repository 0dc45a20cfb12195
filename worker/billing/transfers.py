"""Paying an invoice by bank transfer: an account's number as people read it, and as a phone scans it."""

from decimal import Decimal

from segno.helpers import make_epc_qr

LONGEST_NAME = 70  # of the EPC's standard (EPC069-12)
LARGEST = Decimal("999999999.99")

Modules = tuple[bytearray, ...]


def grouped(iban: str) -> str:
    """Write an IBAN in groups of four."""
    return " ".join(iban[first : first + 4] for first in range(0, len(iban), 4))


def epc_code(
    *, name: str, iban: str, bic: str, amount: Decimal, currency: str, reference: str
) -> Modules | None:
    """Give the modules of an EPC QR code, row by row, 1 for dark: banking apps fill in a transfer by it.

    None where there is none to give: it is for euros alone, from a cent on.
    """
    if currency != "EUR" or not Decimal("0.01") <= amount <= LARGEST or not name:
        return None
    code = make_epc_qr(
        name[:LONGEST_NAME], iban, amount, text=reference, bic=bic or None, encoding="utf-8"
    )
    return code.matrix
