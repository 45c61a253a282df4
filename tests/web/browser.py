"""A real Chromium, driven through its driver; what a visitor sees and does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    # Nothing but this machine can be reached, whatever the page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PATIENCE_SECONDS = 240.0


class Browser:
    """One window with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            missing = (
                "Chromium and its driver are missing: apt-get install chromium chromium-driver"
            )
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(PATIENCE_SECONDS)

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        phone = width < 600
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get(url)
        self.wait(lambda: self.one("#stvg-find").is_displayed(), "the page")

    def slow_down(self, factor: float) -> None:
        """Let the page's scripts take so many times as long."""
        self._tell("Emulation.setCPUThrottlingRate", rate=factor)

    def upload(self, path: Path) -> None:
        self.one("#stvg-upload input[type=file]").send_keys(str(path))
        self.wait(lambda: self.text("#stvg-facts"), "what is known of the upload")

    def write(self, text: str) -> None:
        box = self.one("#stvg-query textarea")
        # Typing keeps to what a keyboard has; a paste does not.
        self.driver.execute_script(
            "const [box, text] = arguments; box.value = text;"
            "box.dispatchEvent(new Event('input', {bubbles: true}));",
            box,
            text,
        )

    def take_part(self, start: float, end: float) -> None:
        """Set the two handles, once they are there."""
        for name, seconds in (("From", start), ("To", end)):
            self.driver.execute_script(
                "const [field, value] = arguments; field.value = value;"
                "for (const kind of ['input', 'change', 'pointerup', 'blur'])"
                "  field.dispatchEvent(new Event(kind, {bubbles: true}));",
                self._handle(name),
                seconds,
            )

    def part(self) -> tuple[float, float]:
        """Where the two handles stand."""
        start, end = (float(self._handle(n).get_attribute("value")) for n in ("From", "To"))
        return start, end

    def looked_at(self) -> tuple[float, float]:
        """Where the part that an answer is about begins, and how long it is, in seconds."""
        section = self.one("#stvg-timeline section")
        begin, length = (float(section.get_attribute(f"data-{w}")) for w in ("from", "duration"))
        return begin, length

    def _handle(self, name: str) -> Any:
        css = f"[aria-label='number input for {name} second']"
        self.wait(lambda: self.one("#stvg-part").is_displayed(), "the handles")
        if not self.driver.find_elements("css selector", css):  # Not in the page while folded.
            self.click("#stvg-part button")
        self.wait(lambda: self.one(css).is_displayed(), "a handle")
        return self.one(css)

    def click(self, css: str) -> None:
        self.driver.execute_script("arguments[0].click()", self.one(css))

    def ask(self, text: str) -> None:
        self.write(text)
        self.click("#stvg-find")

    def pick(self, number: int) -> None:
        """Look at one of several answers, of which the page shows the one that came first."""
        label = f"#stvg-picker label:nth-child({number}) input"
        self.wait(lambda: self.driver.find_elements("css selector", label), "the answers")
        self.wait(lambda: self.one("#stvg-find").is_enabled(), "the end of the question")
        self.click(label)

    def wait_for_answer(self, text: str) -> str:
        """The large letters of the card, once it is about this description."""
        card = "#stvg-card [data-found]:not([data-found='soon']) .stvg-query"
        self.wait(lambda: text in self.text(card), f"the answer to {text!r}")
        self.wait(lambda: self.one("#stvg-find").is_enabled(), "the end of the question")
        return self.text("#stvg-card .stvg-when")

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def text(self, css: str) -> str:
        found = self.driver.find_elements("css selector", css)
        return str(found[0].text).strip() if found else ""

    def script(self, code: str) -> Any:
        return self.driver.execute_script(f"return {code}")

    def wait(self, check: Callable[[], Any], what: str) -> Any:
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                value = check()
            except WebDriverException as error:
                value = None
                what = f"{what} ({error.msg})" if time.monotonic() > deadline else what
            if value:
                return value
            assert time.monotonic() < deadline, f"waited in vain for {what}; {self._looks()}"
            time.sleep(0.1)

    def _looks(self) -> str:
        """What the page says meanwhile, for whoever reads that a test failed."""
        said = {css: self.text(css) for css in ("#stvg-status", "#stvg-facts", "#stvg-card")}
        return f"the page says {said}, its question is {self.typed()!r}"

    def typed(self) -> str:
        """The text in the box of the question."""
        return str(self.one("#stvg-query textarea").get_attribute("value"))

    def screenshot(self, path: Path) -> None:
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def addresses(self) -> set[str]:
        """Every web address that was asked for since the last call."""
        found = set()
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
        return {address for address in found if address.startswith(("http", "ws"))}

    def errors(self) -> list[str]:
        """What the page's scripts complained of since the last call."""
        lines = self.driver.get_log("browser")
        return [str(line["message"]) for line in lines if line["level"] == "SEVERE"]

    def close(self) -> None:
        self.driver.quit()

    def _tell(self, command: str, **values: Any) -> None:
        self.driver.execute_cdp_cmd(command, values)
