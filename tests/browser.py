"""A real Chromium for tests of pages: one that the system has, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to look at the page with")
# Where screenshots are kept: RAYTL_SCREENSHOTS=docs renews those of the documentation.
KEPT = os.environ.get("RAYTL_SCREENSHOTS")


@contextmanager
def browsing(width: int = 1240, height: int = 900, dark: bool = False, expected: str = "") -> Iterator[Page]:
    """A page that has nothing loaded yet; what it reports to its console as an error fails the test at the end, unless
    it holds what is `expected`: Chromium reports every answer with an error's status.
    """
    errors: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page
        finally:
            browser.close()
    assert [error for error in errors if not expected or expected not in error] == []


def keep(page: Page, name: str, folder: Path, whole: bool = False) -> Path:
    """A screenshot as PNG in `folder`, or where the documentation's are renewed."""
    path = (Path(KEPT) if KEPT else folder) / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path
