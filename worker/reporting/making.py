"""Making stored reports, one after the other, as `worker.reporting.claims` hands them out."""

import time
import traceback

from worker import errors
from worker.database import connections
from worker.logs import log
from worker.reporting import claims, kernels, notices, printing, rendering, running, scratches
from worker.tables.labels import ReportFormat
from worker.tables.tenancy import Organization

LONGEST_CELL = 100  # seconds; less than the heartbeat's timeout (claims.LAPSE)

# Errors whose message explains why a report was not made.
EXPECTED_FAILURES = (
    printing.NoBrowserError,
    printing.PrintingFailedError,
    errors.ExtraMissingError,
    errors.NotFoundError,
    kernels.UnfencedError,
)


def make_all(*, until: float) -> int:
    """Make waiting reports, and give their number; none is started after `until` (time.monotonic).

    What killed runs left in the folder for temporary files is removed.
    """
    scratches.sweep()
    made = 0
    while time.monotonic() < until and make_next() is not None:
        made += 1
    return made


def make_next(*, only: int | None = None, advance: running.Advance = running.untold) -> int | None:
    """Make the next report (or `only` that one) and give its id; None if there is none.

    One that fails is set apart with its traceback.

    Raises:
        DatabaseAwayError: the database became unreachable; a later run makes the report.
    """
    claim = connections.transaction(claims.take, only=only)
    if claim is None:
        return None
    try:
        page, pdf, failed = _made(claim, advance)
    except errors.DatabaseAwayError:
        raise
    except Exception as error:  # no error may hold up other reports
        connections.transaction(claims.fail, claim=claim, traceback=_told(error))
        log.warning("report failed", report=claim.id, error=type(error).__name__)
    else:
        connections.transaction(claims.finish, claim=claim, page=page, pdf=pdf, failed=failed)
    return claim.id


def print_anew(*, until: float) -> int:
    """Print the pages whose PDF an erasure deleted, and give their number; none is started after `until`.

    One that cannot be printed does not hold up the others, and is retried by a later run.
    """
    printed = last = 0
    while time.monotonic() < until and (
        kept := connections.transaction(claims.unprinted, after=last)
    ):
        last, page = kept
        try:
            pdf = printing.pdf(page)
        except errors.KeypoolError as error:
            log.warning("report not printed again", report=last, error=type(error).__name__)
        else:
            connections.transaction(claims.keep_pdf, report=last, page=page, pdf=pdf)
            printed += 1
    return printed


def _told(error: Exception) -> str:
    """Say why a report failed: the notebook's traceback, the printer's error, or our own traceback."""
    if text := getattr(error, "traceback", ""):
        return str(text)
    if isinstance(error, EXPECTED_FAILURES):
        return str(error)
    return "".join(traceback.format_exception(error))


def _made(claim: claims.Claim, tell: running.Advance) -> tuple[str, bytes | None, str | None]:
    """Give a report's page, its PDF where that was asked for, and the tracebacks of cells that failed."""
    if claim.format != ReportFormat.PDF:
        page, failed = _page(claim, tell)
        return page, None, failed
    printing.browser()  # checked first, so that the notebook does not run for nothing
    page, failed = _page(claim, tell)
    return page, printing.pdf(page), failed


def _page(claim: claims.Claim, tell: running.Advance) -> tuple[str, str | None]:
    def advance(worked: int, cells: int) -> None:
        connections.transaction(claims.advance, claim=claim, worked=worked, cells=cells)
        tell(worked, cells)

    notebook = rendering.find(claim.notebook)
    if notebook is None:
        raise errors.NotFoundError(
            f"There is no notebook “{claim.notebook}” here: it is neither keypool's nor in KEYPOOL_NOTEBOOKS."
        )
    executed = running.execute(
        notebook,
        about=claim.organization_id,
        organization=_name(claim.organization_id),
        first=claim.first_day,
        last=claim.last_day,
        parameters=claim.parameters,
        advance=advance,
        longest_cell=LONGEST_CELL,
    )
    return rendering.render(executed), notices.traceback(executed)


def _name(organization_id: int | None) -> str | None:
    if organization_id is None:
        return None
    with connections.session() as session:
        return session.get_one(Organization, organization_id).name
