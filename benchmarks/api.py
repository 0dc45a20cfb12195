"""The API: a page of a pool of a million keys, the first and the last."""

import base64
import tempfile
from pathlib import Path

import psycopg

from benchmarks import serving, shop
from benchmarks.frame import Rig, Round, benchmark, plain
from benchmarks.keys import lively
from worker.database import connections
from worker.tenancy import tokens
from worker.tenancy.actors import Role

PAGES = 4_000
LIMIT = 100


@benchmark("api.list_keys", unit="pages/s", n=PAGES)
def listing(rig: Rig, count: int) -> Round:
    """List 100 keys by cursor, and a handler that runs the bare query and dumps it, asking for no token."""
    with rig.database(lively), tempfile.TemporaryDirectory() as folder:
        made = connections.transaction(
            tokens.add, actor=shop.OPERATOR, name="bench", organization="Seller", role=Role.ANALYST
        )
        last, half = _last(), count // 2
        after = base64.urlsafe_b64encode(f"after {last}".encode()).decode().rstrip("=")
        ours = {
            page: _rate(Path(folder), serving.KEYPOOL, f"/keys?limit={LIMIT}{cursor}", half, made)
            for page, cursor in (("first", ""), ("last", f"&cursor={after}"))
        }
        limit = {
            last: _rate(
                Path(folder), "benchmarks.bare:create_app", f"/bare?after={last}", half, made
            )
            for last in (0, last)
        }
    return Round(
        ours=_mean(ours),
        limit=_mean(limit),
        notes={"cost of the last page, times that of the first": ours["first"] / ours["last"]},
    )


def _last() -> int:
    """Give the key after which one page is left of the pool."""
    with psycopg.connect(plain()) as connection:
        found = connection.execute(
            "SELECT id FROM key WHERE pool_id = 1 ORDER BY id DESC OFFSET %s LIMIT 1", [LIMIT]
        )
        [(last,)] = found.fetchall()
        return int(last)


def _rate(folder: Path, app: str, what: str, count: int, token: dict[str, str]) -> float:
    request = (
        f"GET /api/v1/pools/1{what} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token['token']}\r\n\r\n"
    ).encode()
    with serving.served(folder, app) as (address, _):
        serving.rate(address, [request] * (count // 10 + 1))
        return serving.rate(address, [request] * count)


def _mean(rates: dict[object, float]) -> float:
    """Give the rate of as many of each."""
    return len(rates) / sum(1 / rate for rate in rates.values())
