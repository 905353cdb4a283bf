"""A page in a real browser, and what people do with it."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from tests import toys

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# The camera is one of Chromium's own making, and may be used without asking anyone.
CHROMIUM_OPTIONS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

PATIENCE_MS = 20_000

browser_needed = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium")


@contextmanager
def opened(chromium, address, *, troubles=r"the server responded with a status of 4\d\d", **options):
    """A page of its own; any other complaint of the browser, and every request elsewhere, fails the test."""
    context = chromium.new_context(**{"reduced_motion": "reduce", **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints, hosts = [], set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(httpx.URL(request.url).netloc))
    page.goto(str(address))
    yield page
    context.close()
    expected = [text for text in complaints if re.search(troubles, text)]
    assert complaints == expected
    assert hosts <= {httpx.URL(str(address)).netloc, b""}


def expect(locator):
    """Playwright's own, which by default has less patience than the page."""
    from playwright.sync_api import expect  # noqa: PLC0415  # it need not be installed

    expect.set_options(timeout=PATIENCE_MS)
    return expect(locator)


def give(page, data, name="image.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": data})


def scene(seed=0):
    """Something like a satellite image, so that there is something to explain."""
    random = np.random.default_rng(seed)
    image = random.integers(60, 110, (64, 64, 3), np.uint8)
    image[:, 28:36] = (30, 60, 140)
    return toys.save(image)


def settled(page):
    page.wait_for_selector("#answer[aria-busy=false] #verdict:not([hidden])")
    page.wait_for_selector(".map[width]")


def until(condition, limit_s=20):
    """Ask again and again; the page's own policy forbids the browser to evaluate what it is to wait for."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
