"""Logging: lines for people or JSON for machines, set up only where the process starts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

_FIELDS = ("request_id", "client", "method", "path", "status", "duration_ms", "key", "model", "code", "detail")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time``, ``level``, ``pid`` (the process), ``logger``, ``message``; for a request also
    its id, client (the address that it came from), method, path, status and duration; for a prediction the model; what
    names its API key; and why it was refused.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "pid": record.process,
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = _encodable(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


def _encodable(text: str) -> str:
    """Escape what is not Unicode: the name of a file may be any bytes."""
    return text.encode(errors="backslashreplace").decode()


def as_json(level: int, message: str) -> str:
    """Write what is said outside the log as a line of it."""
    return JsonFormatter().format(logging.LogRecord("app", level, "", 0, message, None, None))


class TextFormatter(logging.Formatter):
    """Time, level, message, and the request id where there is one; of several processes also which one it is."""

    def __init__(self, *, several: bool = False) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {'[%(process)d] ' if several else ''}%(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the base class's name
        """Write the line before a traceback, if any."""
        request_id = getattr(record, "request_id", None)
        return super().formatMessage(record) + (f" [{request_id}]" if request_id else "")


def configuration(level: str, style: str, workers: int) -> dict[str, Any]:
    """Build the ``logging.config`` dictionary for the service and its workers.

    uvicorn is asked for its errors only: the service says itself when it listens, is ready, and stops.
    """
    formatter = {"()": JsonFormatter} if style == "json" else {"()": TextFormatter, "several": workers > 1}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"default": formatter},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "default"}},
        "root": {"level": "WARNING", "handlers": ["default"]},
        "loggers": {
            "app": {"level": level.upper()},
            "uvicorn": {"level": "ERROR"},  # its warnings repeat what the protocol answers
        },
    }
