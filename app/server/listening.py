"""The socket that the service listens on."""

from __future__ import annotations

import errno
import socket

from app.errors import CannotListen, PortInUse
from app.settings import PREFIX


def bind(host: str, port: int) -> socket.socket:
    """Bind the address; nothing is accepted yet.

    Raises:
        CannotListen: The address does not exist here or is not allowed, or another process uses it (PortInUse).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, TypeError) as error:  # TypeError: for a name that no host can have
        listener.close()
        raise _explained(error, _written(host, port)) from None
    return listener


def listen(listener: socket.socket, backlog: int) -> None:
    """Have so many connections wait to be accepted.

    Raises:
        PortInUse: Another process, which had bound the address before it was listened on, listens already.
    """
    try:
        listener.listen(backlog)
    except OSError as error:
        raise _explained(error, address(listener)) from None


def _explained(error: OSError | TypeError, where: str) -> CannotListen:
    kind = PortInUse if getattr(error, "errno", 0) == errno.EADDRINUSE else CannotListen
    reason = getattr(error, "strerror", "") or "there is no such host"
    return kind(f"cannot listen on {where}: {reason}; set {PREFIX}HOST or {PREFIX}PORT")


def address(listener: socket.socket) -> str:
    """Format the bound address as in a URL."""
    return _written(*listener.getsockname()[:2])


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
