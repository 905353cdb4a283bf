"""``python -m app``: start the service."""

from __future__ import annotations

import argparse
import logging
import logging.config
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import uvicorn
from PIL import Image
from uvicorn.supervisors import Multiprocess

from app import logs
from app.errors import DeviceUnavailable, InvalidArtifact, InvalidSettings, MultipoolError, NothingToServe
from app.main import build, create_app
from app.settings import PREFIX, Settings

EXIT_CODES: tuple[tuple[type[MultipoolError], int], ...] = (
    (InvalidArtifact, 65),
    (NothingToServe, 66),
    (DeviceUnavailable, 69),
    (InvalidSettings, 78),
)

_BACKLOG = 2048

log = logging.getLogger("app")


def serve(settings: Settings) -> int:
    """Serve until told to stop; returns the exit code."""
    # Our own limit on pixels is checked before Pillow's warning could matter.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    settings.keys()
    build(settings).repository.check()  # what is plainly wrong is said before anything else is
    with _listen(settings.host, settings.port) as listener:
        logging.captureWarnings(True)
        logging.config.dictConfig(logs.configuration(settings.log_level, settings.log_format))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        return _serve_one(settings, listener) if settings.workers == 1 else _serve_many(settings, listener)


def _serve_one(settings: Settings, listener: socket.socket) -> int:
    failures: list[MultipoolError] = []

    def stop(error: MultipoolError) -> None:
        failures.append(error)
        server.should_exit = True

    server = uvicorn.Server(uvicorn.Config(create_app(settings, stop), **_options(settings)))
    log.info("listening on http://%s", _address(listener))
    # uvicorn passes the signal on after it has shut down in order; the handlers above make that an end as it should be.
    server.run(sockets=[listener])
    if failures:
        raise failures[0]
    return 0


def _serve_many(settings: Settings, listener: socket.socket) -> int:
    # Loaded once here, so that what is wrong with the models is said once and ends the start; a supervisor would
    # restart its workers for ever.
    build(settings).repository.load()
    log.info("listening on http://%s", _address(listener))
    config = uvicorn.Config("app.main:create_app", factory=True, workers=settings.workers, **_options(settings))
    Multiprocess(config, sockets=[listener]).run()
    return 0


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "log_config": logs.configuration(settings.log_level, settings.log_format),
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": int(settings.request_timeout_s) + 1,
        "backlog": _BACKLOG,
    }


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything is loaded: a port in use is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; set {PREFIX}HOST or {PREFIX}PORT") from None
    listener.set_inheritable(True)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _exit_code(error: MultipoolError) -> int:
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def settings_table() -> list[tuple[str, str, str]]:
    """List every setting: its name in the environment, its default, its meaning."""
    return [
        (PREFIX + name.upper(), "" if field.default in (None, ()) else str(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    settings = "\n".join(f"  {name} [{default}]\n      {meaning}" for name, default, meaning in settings_table())
    top = argparse.ArgumentParser(
        prog="python -m app",
        description="Serve multi-pool image classifiers over HTTP.",
        epilog=f"settings, read from the environment [default]:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", nargs="?", choices=["serve"], default="serve", help="what to do (default: serve)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser().parse_args(arguments)
    try:
        return serve(Settings.load())
    except MultipoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return _exit_code(error)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
