"""A real browser for tests: Chromium without a window, driven as W3C's WebDriver says, by Debian's chromium-driver.

Source: https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element in WebDriver's JSON
_OPTIONS = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--hide-scrollbars"]
_LONGEST_SECONDS = 60


class Browser:
    """A browser with one page."""

    def __init__(self, driver: str, session: str) -> None:
        self._url = f"{driver}/session/{session}"

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self._do("url", {"url": url})

    def texts(self, css: str) -> list[str]:
        """Return the texts of all elements that fit."""
        return [str(self._do(f"element/{one}/text")) for one in self._found(css)]

    def text(self, css: str) -> str:
        """Return the text of the first element that fits, once there is one."""
        return str(self._do(f"element/{self._first(css)}/text"))

    def click(self, css: str) -> None:
        """Click the first element that fits, once there is one."""
        self._do(f"element/{self._first(css)}/click", {})

    def follow(self, text: str) -> None:
        """Click the first link with this text, or a part of it."""
        (found, *_) = self._do("elements", {"using": "partial link text", "value": text})
        self._do(f"element/{found[_ELEMENT]}/click", {})

    def type(self, css: str, text: str) -> None:
        """Type into the first field that fits."""
        self._do(f"element/{self._first(css)}/value", {"text": text})

    def screenshot(self, width: int, height: int) -> bytes:
        """Return what a window of this size shows, as PNG."""
        self._do("window/rect", {"width": width, "height": height})
        return base64.b64decode(self._do("screenshot"))

    def _first(self, css: str) -> str:
        ends_at = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < ends_at:
            if found := self._found(css):
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"there is no {css} on {self._do('url')}: {self.text('body')[:500]}")

    def _found(self, css: str) -> list[str]:
        return [one[_ELEMENT] for one in self._do("elements", {"using": "css selector", "value": css})]

    def _do(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return _call(f"{self._url}/{path}", body)


def _call(url: str, body: dict[str, Any] | None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - of this machine
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"the browser refused {url}: {error.read().decode()[:500]}") from error


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser; skip the test where there is none."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("no browser was found: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        environ = {"PATH": os.environ["PATH"], "HOME": folder}
        command = [driver, "--port=0", "--log-level=SEVERE"]
        with subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            try:
                port = next(
                    found[1]
                    for line in process.stdout
                    if (found := re.search(r"started successfully on port (\d+)", line))
                )
                url = f"http://127.0.0.1:{port}"
                # Its own sandbox does not work for root.
                options = [*_OPTIONS, f"--user-data-dir={Path(folder) / 'profile'}"]
                options += ["--no-sandbox"] if os.geteuid() == 0 else []
                chrome = {"binary": chromium, "args": options}
                wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": chrome}}
                session = _call(f"{url}/session", {"capabilities": wanted})["sessionId"]
                try:
                    yield Browser(url, session)
                finally:
                    _call(f"{url}/session/{session}", None, "DELETE")
            finally:
                process.terminate()
