"""A browser, and the page of the models that come with the project."""

import pytest

from tests.browser import CHROMIUM, CHROMIUM_OPTIONS, opened
from tests.conftest import serving


@pytest.fixture(scope="module")
def chromium():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def published(committed):
    with serving(committed) as client:
        yield client


@pytest.fixture
def page(chromium, published):
    with opened(chromium, published.base_url) as page:
        page.wait_for_selector("#model option", state="attached")
        yield page
