"""So many requests a second for each client: a token bucket per key, or per address where there are no keys."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.errors import RateLimited
from app.middleware import OPEN_PATHS, given_key

_MOST_CLIENTS = 10_000


class Bucket(NamedTuple):
    """What a client has left, and as of when."""

    tokens: float
    at: float


class RateLimit:
    """Refuses what exceeds a client's rate with 429, and says in ``Retry-After`` when to come again.

    A client may save up to one second of its rate, at least one request. Those heard of least recently are forgotten.
    """

    def __init__(self, app: ASGIApp, per_second: float) -> None:
        self._app = app
        self._per_second = per_second
        self._burst = max(1.0, per_second)
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            wait_s = self._take(_client(scope), time.monotonic())
            if wait_s > 0:
                error = RateLimited(f"more than {self._per_second:g} requests a second; wait {math.ceil(wait_s)} s")
                headers = {"Retry-After": str(math.ceil(wait_s))}
                await problems.response(problems.kind_of(error), str(error), scope, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _take(self, client: bytes, now: float) -> float:
        """Take one token; returns the seconds to wait where there is none."""
        known = self._buckets.pop(client, Bucket(self._burst, now))
        tokens = min(self._burst, known.tokens + (now - known.at) * self._per_second)
        wait_s = max(0.0, (1 - tokens) / self._per_second)
        self._buckets[client] = Bucket(tokens - 1 if wait_s == 0 else tokens, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait_s


def _client(scope: Scope) -> bytes:
    host = (scope.get("client") or ("",))[0]
    return given_key(Headers(scope=scope)) or host.encode()
