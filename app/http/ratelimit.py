"""So many requests a second for each client: a token bucket per key, or per address where no key is known."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from app.apikeys import Keys
from app.errors import RateLimited
from app.http import failures
from app.http.context import client_of
from app.http.keys import given_key
from app.http.paths import HEALTH, METRICS, is_page

_MOST_CLIENTS = 10_000


class Bucket(NamedTuple):
    """What a client has left, and as of when."""

    tokens: float
    at: float


class RateLimit:
    """Refuses what exceeds a client's rate with 429, and says in ``Retry-After`` when to come again.

    A client may save up to one second of its rate, at least one request. Those heard of least recently are forgotten.
    """

    def __init__(self, app: ASGIApp, per_second: float, workers: int, keys: Keys) -> None:
        """Put it before an application.

        Args:
            app: Takes what is not refused.
            per_second: Requests a second that each client may send.
            workers: Processes that divide them; each sees its share of a client's requests.
            keys: Those that a client is known by; any other says nothing of who sent it.
        """
        self._app = app
        self._per_second = per_second / workers
        self._said = f"{per_second:g} requests a second"
        if workers > 1:
            self._said += f" ({self._per_second:g} to each of {workers} workers)"
        self._keys = keys
        self._burst = max(1.0, self._per_second)
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_free(scope):
            wait_s = self._take(self._client(scope), time.monotonic())
            if wait_s > 0:
                error = RateLimited(f"more than {self._said}; wait {math.ceil(wait_s)} s")
                headers = {"Retry-After": str(math.ceil(wait_s))}
                await failures.of(error, scope, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_free(self, scope: Scope) -> bool:
        """Tell whether monitoring asks, or a browser for the pages, which are not limited.

        An alert must not say "down" because somebody else asks too often, and a page is of many files at once.
        """
        path = scope["path"]
        if path == METRICS:
            key, keys = given_key(scope), self._keys
            # Else keys could be guessed without limit.
            return not (key and (keys.users or keys.admin)) or keys.name(key) is not None
        return path in HEALTH or is_page(path)

    def _take(self, client: bytes, now: float) -> float:
        """Take one token; returns the seconds to wait where there is none."""
        known = self._buckets.pop(client, Bucket(self._burst, now))
        tokens = min(self._burst, known.tokens + (now - known.at) * self._per_second)
        wait_s = max(0.0, (1 - tokens) / self._per_second)
        self._buckets[client] = Bucket(tokens - 1 if wait_s == 0 else tokens, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait_s

    def _client(self, scope: Scope) -> bytes:
        """Name who asks; keys that are not known count for their address, so no one else can use up a key's rate."""
        key = given_key(scope)
        name = self._keys.name(key)
        if name is None:
            return client_of(scope).encode()
        scope["state"]["key"] = name  # for the log
        return key
