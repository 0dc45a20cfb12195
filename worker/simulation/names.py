"""Names for simulated things. Addresses end in .example, so they reach nobody."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", int, NDArray[np.int64])

# (time zone, currency, locale) of a tree of organizations.
HOMES = (
    ("Europe/Berlin", "EUR", "de"),
    ("America/New_York", "USD", "en_US"),
    ("Europe/London", "GBP", "en_GB"),
    ("Europe/Paris", "EUR", "fr"),
    ("Asia/Tokyo", "JPY", "ja"),
    ("Australia/Sydney", "AUD", "en_AU"),
    ("America/Sao_Paulo", "BRL", "pt_BR"),
    ("Europe/Stockholm", "EUR", "sv"),
)

# Each home's tax: name and percentage; None if it has none.
TAXES = (
    ("USt.", "19"), None, ("VAT", "20"), ("TVA", "20"), ("JCT", "10"), ("GST", "10"), None,
    ("moms", "25"),
)  # fmt: skip

TREES = (
    "Alder Academy", "Borealis Training", "Copper Lane College", "Driftwood Labs", "Ember Institute",
    "Fathom Learning", "Greyfield School", "Harbour Skills", "Ironbridge Academy", "Juniper Campus",
    "Kestrel Training", "Lantern College", "Millrace Institute", "Northlight Learning",
    "Orchard Skills", "Pinecrest Academy", "Quarry Hill School", "Rookwood Training",
    "Saltmarsh College", "Tidewater Labs",
)  # fmt: skip

BRANCHES = (
    "Central", "North", "South", "East", "West", "Online", "Partners", "Enterprise", "Public Sector",
    "Evening School",
)  # fmt: skip

COURSES = (
    ("K8S-101", "Kubernetes fundamentals", 249),
    ("PY-100", "Python from the start", 129),
    ("SEC-210", "Securing web applications", 399),
    ("SQL-120", "SQL for analysts", 149),
    ("NET-200", "Networking in practice", 299),
    ("LNX-110", "Linux administration", 199),
    ("CLD-300", "Cloud architecture", 549),
    ("ML-220", "Machine learning with care", 449),
    ("GIT-050", "Git without fear", 49),
    ("TF-210", "Infrastructure as code", 329),
    ("OBS-230", "Observability", 279),
    ("JS-150", "JavaScript for the browser", 159),
    ("RST-240", "Systems programming in Rust", 379),
    ("PG-310", "PostgreSQL performance", 489),
    ("INC-180", "Incident response", 219),
    ("K8S-100", "Kubernetes fundamentals, first edition", 199),
)  # fmt: skip

FIRST = (
    "ada", "amir", "ana", "aoife", "bela", "bruno", "carla", "chidi", "chloe", "daniel", "dina",
    "elif", "emil", "eva", "farah", "finn", "gita", "hana", "hugo", "ines", "ivan", "jana", "jonas",
    "kaito", "kira", "lars", "lea", "liam", "lina", "luca", "maja", "marco", "mei", "mila", "nadia",
    "nils", "nora", "olga", "omar", "otto", "petra", "pia", "quinn", "rafael", "rosa", "sami",
    "sara", "sofia", "tariq", "theo", "tomas", "uma", "vera", "viktor", "wanda", "yara", "yusuf",
    "zoe",
)  # fmt: skip

LAST = (
    "abe", "adler", "almeida", "bauer", "becker", "bianchi", "costa", "dubois", "eriksen", "fischer",
    "garcia", "gruber", "haas", "ito", "jansen", "keller", "khan", "kim", "koch", "kumar", "lang",
    "larsen", "lopez", "maier", "martin", "mori", "nagy", "novak", "okafor", "olsen", "pereira",
    "petrov", "quist", "rossi", "sato", "schmidt", "silva", "singh", "smith", "tanaka", "taylor",
    "urban", "varga", "vogel", "wagner", "weber", "wong", "yilmaz", "young", "zimmer",
)  # fmt: skip

REASONS = ("Left the company", "Booked by mistake", "Moved to another course", "Asked for by phone")


def person(number: Number) -> tuple[Number, Number, Number]:
    """Give the indexes of a person's first and last name, and a number that tells namesakes apart (0: none).

    Counting both up together gives every pair of the names once before the first namesake.
    """
    first, last = number % len(FIRST), (number + number // len(FIRST)) % len(LAST)
    return first, last, number // (len(FIRST) * len(LAST))
