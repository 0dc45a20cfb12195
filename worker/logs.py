"""Logs: one line per event, to standard error, for people or as JSON, without secrets.

structlog is imported when the first line is written, because the import takes a tenth of a command's
start, and most commands write none.
"""

import logging
import re
import socket
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TextIO, cast

from worker.settings import settings

if TYPE_CHECKING:
    from structlog.types import FilteringBoundLogger, Processor

# Redaction: no caller should log these; those that slip through are masked here. A search for an
# address begins where its word begins or at most 64 characters before the @, so that the time is linear.
SECRETS = re.compile(
    r"whsec_[A-Za-z0-9+/=_-]+"  # signing secrets
    r"|kp_[A-Za-z0-9_-]{8,}"  # tokens
    r"|v1,[A-Za-z0-9+/]{20,}=*"  # signatures
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"  # passwords in addresses of servers
    r"|(?:(?<![^\s@\"'<>(])[^\s@\"'<>(]+|[^\s@\"'<>(]{1,64})"  # people's addresses
    r"@[^\s@\"'<>)]+\.[A-Za-z]{2,}"
    r"|\b[A-HJKMNP-TV-Z][0-9A-HJKMNP-TV-Z]{3}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}\b"  # generated keys
)


class Lines(logging.StreamHandler[TextIO]):
    """Our own handler, recognized by its class; there is one at a time."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a library's line like ours."""
        if self.formatter is None:
            self.formatter = _formatter()
        return super().format(record)


class Unfailing:
    """A file that ignores failed writes, so that a full disk stops no request."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write a text, if possible."""
        with suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        """Flush what was written, if possible."""
        with suppress(OSError, ValueError):
            self._file.flush()


class Log:
    """The logger of all of keypool: `log.info("keys made", count=3)`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_logger(), name)


log = cast("FilteringBoundLogger", Log())


def configure(
    service: str = "command", *, ours: int = logging.INFO, others: int = logging.INFO
) -> None:
    """Write our logs and the standard library's in the same way, as KEYPOOL_LOG_FORMAT says.

    Each line names the service, the host and the version. `ours` and `others` are the lowest levels
    that are written, of keypool and of libraries.
    """
    global _target
    _target = ours, sys.stderr
    _origin.update(service=service, host=socket.gethostname(), version=version("keypool"))
    _logger.cache_clear()
    root = logging.getLogger()
    others_own = (other for other in root.handlers if type(other) is not Lines)
    root.handlers[:] = [*others_own, Lines(sys.stderr)]
    root.setLevel(others)


def origin() -> Mapping[str, str]:
    """Give the service, the host and the version that this process's lines name."""
    return _origin


def is_configured() -> bool:
    """Say whether `configure` was called in this process."""
    return _target is not None


def mask(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets, keys and people's addresses in a line's texts by “…”."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = SECRETS.sub("…", value)
    return line


def name_origin(
    _logger: Any, _name: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Name the service, the host and the version that a line comes from."""
    line.update(_origin)
    return line


_origin: dict[str, str] = {"service": "command", "host": "", "version": ""}

# The lowest level of ours that is written, and where; None: structlog's own defaults.
_target: tuple[int, TextIO] | None = None


@cache
def _logger() -> "FilteringBoundLogger":
    import structlog

    if _target:
        least, file = _target
        # Ours are written directly: through the standard library a line would cost twice as much.
        structlog.configure(
            processors=[*_shared(), _renderer()],
            logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Unfailing(file))),
            wrapper_class=structlog.make_filtering_bound_logger(least),
        )
    logger: FilteringBoundLogger = structlog.get_logger().bind()  # noqa: TID251  # here alone
    return logger


def _formatter() -> logging.Formatter:
    from structlog.stdlib import ProcessorFormatter

    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, _renderer()],
        foreign_pre_chain=_shared(),
    )


def _shared() -> "list[Processor]":
    import structlog

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        mask,  # what follows is our own, and masking is most of a line's cost
        name_origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderer() -> "Processor":
    import structlog

    if settings().log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
