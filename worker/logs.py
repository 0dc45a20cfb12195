"""Logs: one line an event, to standard error, for people or as JSON, and no secrets in them."""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from worker.settings import settings

# Nothing that logs should be handed these; what slips through all the same is masked here.
SECRETS = re.compile(
    r"whsec_[A-Za-z0-9+/=_-]+"  # signing secrets
    r"|kp_[A-Za-z0-9_-]{8,}"  # tokens
    r"|v1,[A-Za-z0-9+/]{20,}=*"  # signatures
    r"|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"  # passwords in addresses of servers
    r"|[^\s@\"'<>(]+@[^\s@\"'<>)]+\.[A-Za-z]{2,}"  # people's addresses
    r"|\b[A-HJKMNP-TV-Z][0-9A-HJKMNP-TV-Z]{3}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}\b"  # generated keys
)


class Lines(logging.StreamHandler[TextIO]):
    """Our own handler, told from others' by its class; there is one at a time."""


class Unfailing:
    """A file whose writer goes on where a line cannot be written: a full disk stops no request."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write a text, if that can be."""
        with suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        """Send what was written on its way, if that can be."""
        with suppress(OSError, ValueError):
            self._file.flush()


def configure(*, ours: int = logging.INFO, others: int = logging.INFO) -> None:
    """Send structlog's and the standard library's logs the same way, as KEYPOOL_LOG_FORMAT says.

    `ours` and `others` are the least levels that are written: of keypool, and of libraries.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
    ]
    # Ours are written at once: by way of the standard library a line would cost twice as much.
    structlog.configure(
        processors=[*shared, _renderer()],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Unfailing(sys.stderr))),
        wrapper_class=structlog.make_filtering_bound_logger(ours),
        cache_logger_on_first_use=True,
    )
    handler = Lines(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer()],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [*(other for other in root.handlers if type(other) is not Lines), handler]
    root.setLevel(others)


def mask(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put … in place of secrets, keys and people's addresses in a line's texts."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = SECRETS.sub("…", value)
    return line


def _renderer() -> structlog.types.Processor:
    if settings().log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
