"""Invoices on paper: one to print, and what a printed one says."""

import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pypdf import PdfReader

from worker.billing import parties


def printed(**changes: Any) -> dict[str, Any]:
    """An invoice as `show` gives it, with some fields of its own."""
    decimals = changes.get("decimals", 2)
    subtotal = Decimal("1234.5").quantize(Decimal(1).scaleb(-decimals))
    line = {
        "course": "K8S-101",
        "course_title": "Kubernetes",
        "pool_name": "Autumn",
        "kind": "redemption",
        "service_month": "2026-05",
        "unit_price": str(subtotal),
        "tax_label": "VAT",
        "tax_percent": "0",
        "credits": None,
        "quantity": 1,
        "amount": str(subtotal),
    }
    party = {"address": "Street 1\nTown"}
    buyer = parties.buyer(
        party | {"name": "Academy", "locale": changes.pop("locale", "en"), "time_zone": "UTC"}
    )
    return {
        "id": "1",
        "number": "2026-000001",
        "title": "Invoice",
        "organization": "Academy",
        "month": "2026-05",
        "currency": "EUR",
        "decimals": 2,
        "status": "finalized",
        "subtotal": str(subtotal),
        "taxes": [
            {
                "label": "VAT",
                "percent": "0",
                "category": "Z",
                "exemption": None,
                "subtotal": str(subtotal),
                "tax": str(subtotal * 0),
            }
        ],
        "tax": str(subtotal * 0),
        "total": str(subtotal),
        "open": str(subtotal),
        "payments": [],
        "finalized_at": datetime(2026, 6, 4, tzinfo=UTC),
        "issued_on": "2026-06-04",
        "due_on": "2026-07-04",
        "paid_on": None,
        "void_reason": None,
        "seller": parties.seller(party | {"name": "Operator"}),
        "buyer": buyer,
        "lines": [line],
        "learner_organizations": [],
    } | changes


def words(pdf: bytes) -> str:
    """Give a PDF's text with every white space as one space."""
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    return re.sub(r"\s+", " ", " ".join(pages))
