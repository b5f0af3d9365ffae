"""A browser for the tests below here. Without one they are skipped with the line that installs it; CI must have one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.lab import PATIENCE, Lab

INSTALL = "apt-get install -y --no-install-recommends chromium"
NAMES = ("chromium", "chromium-browser", "google-chrome")
# Software rendering, WebGL included, and nothing that asks the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--renderer-process-limit=1",  # see context
]  # fmt: skip


# Of all files here, for a start and the first page cost more than most tests: what ends it, and the open context.
_OPEN = pytest.StashKey[tuple[ExitStack, BrowserContext]]()


@pytest.fixture(scope="module")
def context(request: pytest.FixtureRequest) -> BrowserContext:
    """Of all pages. The one that stays open keeps their process, whose start is most of what a page costs, and
    JupyterLab's scripts are read and compiled once."""
    stash = request.session.stash
    if _OPEN not in stash:
        path = os.environ.get("MGKIT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
        if path is None:
            message = f"needs Chromium: {INSTALL}"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        with ExitStack() as stack:
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
            stack.callback(browser.close)
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            stack.callback(context.close)
            context.new_page()
            stash[_OPEN] = stack.pop_all(), context
            request.session.addfinalizer(stash[_OPEN][0].close)  # also after Ctrl-C
    return stash[_OPEN][1]


@pytest.fixture(scope="module")
def browser(context: BrowserContext) -> Browser:
    assert context.browser is not None
    return context.browser


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the browser with the last test here: as long as playwright runs, asyncio.run is refused in this thread."""
    if (nextitem is None or nextitem.path.parent != item.path.parent) and _OPEN in item.session.stash:
        item.session.stash[_OPEN][0].close()
        del item.session.stash[_OPEN]


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    yield page
    if not page.is_closed():
        page.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab") / "server")
    yield lab
    lab.close()
