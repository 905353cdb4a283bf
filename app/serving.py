"""The process: its socket, signals and logging, and one server or several workers."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import uvicorn

from app import apikeys, logs, starting
from app.errors import InvalidSettings, MultipoolError
from app.main import create_app
from app.server import listening
from app.server.accepting import Place, Places
from app.server.lifecycle import Server
from app.server.link import Link
from app.server.protocol import Protocol
from app.server.terminal import Terminal
from app.server.workers import Supervisor
from app.service import Service
from app.settings import Settings

_BACKLOG = 2048
_OPEN_FILES = 65_536

log = logging.getLogger("app")


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        MultipoolError: The service cannot start.
    """
    terminal = Terminal()
    apikeys.read(settings)
    # Plain mistakes are reported before anything else.
    starting.check(settings.models_dir, settings.default_model, settings.device)
    with listening.bind(settings.host, settings.port) as listener:  # before anything is loaded
        _prepare(settings)
        log.info("listening on http://%s", listening.address(listener))
        if given := settings.given():
            log.info("set: %s", given)
        try:
            if settings.workers == 1:
                _serve_one(settings, listener, Places().take(), partial(_handle_hang_up, terminal))
            else:
                # A worker ends by itself before: see the last resort in app.server.lifecycle.
                limit_s = settings.lame_duck_s + settings.shutdown_timeout_s + 5
                Supervisor(work, (settings, listener), settings.workers, limit_s, terminal).run()
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing is left to renew, but it would end this with a fault


def work(
    pipe: Connection, place: Place, trusted: frozenset[str] | None, settings: Settings, listener: socket.socket
) -> None:
    """Run one of several workers: report over the pipe that it is ready, or the error; end when the pipe is closed."""
    os.setsid()  # a terminal's Ctrl-C goes to the supervisor alone, which passes it on
    _prepare(settings)
    link = Link(pipe)
    try:
        _serve_one(settings, listener, place, link.start, trusted)
    except MultipoolError as error:
        link.send(error)
        sys.exit(1)
    finally:
        link.end()


def _prepare(settings: Settings) -> None:
    logging.captureWarnings(True)
    logging.config.dictConfig(logs.configuration(settings.log_level, settings.log_format, settings.workers))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    # uvicorn raises the signal again after its shutdown; this makes the process exit with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # handled by the supervisor, or below by a single process


async def _handle_hang_up(terminal: Terminal, service: Service) -> None:
    """Handle SIGHUP with one worker: the terminal was closed, or someone wants to renew the workers or the keys."""
    asked = threading.Event()
    if service.settings.api_keys_file is not None:  # in a thread: a million keys take seconds
        threading.Thread(target=_read_keys, args=(service.keys, asked), daemon=True).start()

    def handle() -> None:
        if terminal.is_closed():
            os.kill(os.getpid(), signal.SIGTERM)
        elif service.settings.api_keys_file is None:
            log.warning(
                "SIGHUP renews workers and reads a file of API keys; with one worker and no such file there is nothing "
                "to renew: set MULTIPOOL_WORKERS=2 or more, or restart the service"
            )
        else:
            asked.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, handle)
    if terminal.is_closed():  # before
        handle()


def _read_keys(keys: apikeys.Keys, asked: threading.Event) -> None:
    """Read the keys again whenever it is asked for; once more if it is asked for meanwhile, however often."""
    while asked.wait():
        asked.clear()
        try:
            keys.read()
        except InvalidSettings as error:
            log.error("the API keys stay as they are: %s", error)  # noqa: TRY400  # a line for the operator
        else:
            log.info("API keys read again: %d", len(keys.users))


def _serve_one(
    settings: Settings,
    listener: socket.socket,
    place: Place,
    on_started: Callable[[Service], Awaitable[None]],
    trusted: frozenset[str] | None = None,
) -> None:
    failures: list[MultipoolError] = []

    def stop(error: MultipoolError) -> None:
        failures.append(error)
        server.fail()

    async def started(service: Service) -> None:
        if not failures:
            await on_started(service)

    config = uvicorn.Config(create_app(settings, stop, trusted), **_options(settings))
    server = Server(config, place=place, lame_duck_s=settings.lame_duck_s, on_started=started)
    server.run(sockets=[listener])
    if failures:
        raise failures[0]


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "http": Protocol,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # whoever connects can write any address there, and rates are limited by address
        "timeout_graceful_shutdown": settings.shutdown_timeout_s,
        "timeout_keep_alive": settings.keep_alive_s,
        "backlog": _BACKLOG,
    }
