"""The page in a real browser: what a visitor does, and what is seen."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.video import open_video
from stvg_r1_hub.web import limits
from stvg_r1_hub.web import page as page_events
from stvg_r1_hub.web.layout import SMALL_MODEL
from tests.killing import killing_file, make_children_careless
from tests.media import write_clip
from tests.web.bad_files import bad_files
from tests.web.browser import Browser
from tests.web.conftest import Demo, Served

SCREENSHOTS = Path(__file__).parents[2] / "outputs" / "screenshots"
PLAYING = (
    "(() => {const v = document.querySelector('#stvg-video video');"
    "return v && v.readyState >= 2 && !v.error && v.videoWidth > 0"
    " ? {time: v.currentTime, duration: v.duration, src: v.currentSrc} : null;})()"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    window = Browser(tmp_path_factory.mktemp("profile"))
    yield window
    window.close()


def seconds_in(text: str) -> tuple[float, float]:
    start, end = re.findall(r"\d+\.\d+", text)
    return float(start), float(end)


def test_upload_ask_watch(browser: Browser, page: str, demo: Demo) -> None:
    browser.open(page)
    browser.screenshot(SCREENSHOTS / "empty.png")
    browser.upload(demo.clip)
    assert "frames a second" in browser.text("#stvg-facts")
    browser.ask(demo.query)
    start, end = seconds_in(browser.wait_for_answer(demo.query))
    assert demo.overlap(start, end) > 0.5
    browser.wait(lambda: not browser.text("#stvg-status"), "an end of the progress")
    video = browser.wait(
        lambda: (now := browser.script(PLAYING)) and "answer-1" in now["src"] and now,
        "a video that plays",
    )
    # It begins at the moment that was found, and it moves.
    assert video["time"] >= start - 0.1
    browser.wait(lambda: _seconds(browser) > video["time"], "the video to move")
    browser.screenshot(SCREENSHOTS / "answer.png")
    assert browser.text("#stvg-timeline").count("\n") >= 2
    assert browser.script("document.querySelectorAll('.stvg-frame').length") >= 3
    assert browser.text("#stvg-reasoning")
    assert browser.one("#stvg-find").is_enabled()
    browser.click("#stvg-view label:nth-child(2) input")
    browser.wait(
        lambda: "what-the-model-saw" in (browser.script(PLAYING) or {"src": ""})["src"],
        "the numbered video",
    )
    assert browser.script(PLAYING)["duration"] == pytest.approx(video["duration"], abs=0.1)


def _seconds(browser: Browser) -> float:
    """Where the answer's video is; -1 while it has no picture, as in the middle of a jump."""
    return float((browser.script(PLAYING) or {"time": -1})["time"])


def test_moments_move_the_video(browser: Browser, page: str, demo: Demo) -> None:
    browser.open(page)
    browser.upload(demo.clip)
    browser.ask(demo.query)
    browser.wait_for_answer(demo.query)
    browser.wait(lambda: browser.script(PLAYING), "a video that plays")
    browser.script("document.querySelector('#stvg-video video').pause()")
    browser.click(".stvg-frame")  # The first moment lies before the answer.
    moment = float(browser.one(".stvg-frame").get_attribute("data-seek"))
    assert moment < demo.start_seconds
    browser.wait(lambda: moment <= _seconds(browser) < moment + 0.8, "the moment")
    # The button plays the answer, and again when it is over: the video stays in it.
    browser.click(".stvg-play")
    start, end = (
        float(browser.one(".stvg-play").get_attribute(f"data-{w}")) for w in ("seek", "until")
    )
    browser.wait(lambda: _seconds(browser) > end - 0.4, "the end")
    browser.wait(lambda: start - 0.1 <= _seconds(browser) < end - 0.5, "it again")
    assert not browser.script("document.querySelector('#stvg-video video').paused")


def test_several_descriptions_and_html_in_one(browser: Browser, page: str, demo: Demo) -> None:
    attack = '<img src=x onerror="window.hacked=1"><b>dog</b>'
    browser.open(page)
    browser.upload(demo.clip)
    browser.ask(f"{attack}\n{demo.query}")
    browser.wait_for_answer(attack)  # Shown as text, letter by letter.
    browser.pick(2)
    start, end = seconds_in(browser.wait_for_answer(demo.query))
    assert demo.overlap(start, end) > 0.5
    assert not browser.script("window.hacked")
    assert not browser.script("document.querySelector('#stvg-answer img[src=x]')")


def test_not_found_is_an_answer(browser: Browser, page: str, tmp_path: Path) -> None:
    grey = [np.full((96, 128, 3), 90, np.uint8)] * 20
    browser.open(page)
    browser.upload(write_clip(tmp_path / "grey.mp4", grey))
    browser.ask("the dog jumping")
    assert browser.wait_for_answer("the dog jumping") == "Not found in this video"
    browser.wait(lambda: browser.script(PLAYING), "the video all the same")
    browser.screenshot(SCREENSHOTS / "not-found.png")
    assert not browser.driver.find_elements("css selector", ".stvg-problem")
    assert "No object was found" in browser.text("#stvg-card")


def test_bad_files_are_one_sentence_each(browser: Browser, page: str, tmp_path: Path) -> None:
    for name, path in bad_files(tmp_path).items():
        browser.open(page)
        browser.one("#stvg-upload input[type=file]").send_keys(str(path))
        said = browser.wait(lambda: browser.text("#stvg-facts .stvg-problem"), f"{name}: why")
        assert "Traceback" not in said and "\n" not in said and len(said) > 20, name
        browser.ask("the dog jumping")
        browser.wait(lambda: not browser.text("#stvg-status"), f"{name}: no second error")
        assert browser.text("#stvg-facts .stvg-problem") == said
    browser.screenshot(SCREENSHOTS / "bad-file.png")
    # What the upload box drops without a word is told all the same, until the next file.
    browser.open(page)
    animation = write_clip(tmp_path / "a.gif", 5, codec="gif", pix_fmt="rgb8")
    browser.one("#stvg-upload input[type=file]").send_keys(str(animation))
    browser.wait(lambda: "a.gif is no video" in browser.text("#stvg-refused"), "why no GIF")
    browser.upload(write_clip(tmp_path / "good.mp4", 5))
    assert not browser.text("#stvg-refused")


def test_a_video_that_only_the_browser_cannot_play(
    browser: Browser, page: str, tmp_path: Path
) -> None:
    """It is asked about as any other, and nothing calls it an error."""
    grey = [np.full((96, 128, 3), 90, np.uint8)] * 20
    browser.open(page)
    browser.upload(write_clip(tmp_path / "camera.avi", grey, codec="mpeg4"))
    browser.wait(lambda: "cannot play" in browser.text("#stvg-refused"), "why nothing is seen")
    assert not browser.driver.find_elements("css selector", ".toast-body")
    # gradio's own scissors would fetch code from elsewhere.
    scissors = browser.one("#stvg-upload [aria-label^='Trim video']")
    assert not scissors.is_displayed()
    browser.ask("the dog")
    assert browser.wait_for_answer("the dog") == "Not found in this video"
    assert not browser.driver.find_elements("css selector", "#stvg-view")  # There is but one.
    browser.click("#stvg-upload [aria-label='Clear']")
    browser.wait(lambda: not browser.text("#stvg-facts"), "the video to go")
    assert not browser.text("#stvg-refused")


def test_a_file_that_kills_its_reader_leaves_the_page_alive(
    browser: Browser, page: str, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_children_careless(tmp_path, monkeypatch)
    limits.TRIALS.close()
    browser.open(page)
    browser.upload(killing_file(tmp_path / "deadly.mov"))
    said = browser.text("#stvg-facts .stvg-problem")
    assert said.startswith("'deadly.mov' makes the video decoder crash")
    browser.ask("the dog jumping")
    browser.wait(lambda: not browser.text("#stvg-status"), "no second error")
    assert browser.text("#stvg-facts .stvg-problem") == said
    browser.screenshot(SCREENSHOTS / "killing-file.png")
    browser.open(page)  # The next visitor, while such children are still about.
    browser.upload(demo.clip)
    browser.ask(demo.query)
    assert demo.overlap(*seconds_in(browser.wait_for_answer(demo.query))) > 0.5
    limits.TRIALS.close()


def test_bad_questions_are_one_sentence_each(browser: Browser, page: str, demo: Demo) -> None:
    browser.open(page)
    browser.ask("the dog jumping")
    browser.wait(lambda: "no video yet" in browser.text("#stvg-facts"), "asked without a video")
    browser.upload(demo.clip)
    browser.wait(lambda: "frames a second" in browser.text("#stvg-facts"), "the error to go")
    for text, words in (
        ("", "Describe what to look for"),
        ("x" * 10_000, "10000 characters"),
        ("\n".join(f"dog {i}" for i in range(20)), "20 descriptions"),
    ):
        browser.ask(text)
        browser.wait(lambda words=words: words in browser.text(".stvg-problem"), words)
    browser.ask(demo.query)  # Nobody is affected afterwards.
    assert browser.wait_for_answer(demo.query)


@pytest.fixture
def endings(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each question ended on the server, in order."""
    seen: list[str] = []
    ground = served.grounder.ground

    def watched(*arguments: Any) -> Any:
        try:
            answers = ground(*arguments)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        seen.append("answered")
        return answers

    monkeypatch.setattr(served.grounder, "ground", watched)
    return seen


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("long") / "long.mp4", 1500, size=(320, 240))


def test_stop_and_ask_again(
    browser: Browser, page: str, demo: Demo, long_video: Path, endings: list[str]
) -> None:
    browser.open(page)
    browser.upload(long_video)
    browser.ask("the dog jumping")
    browser.wait(lambda: "frame" in browser.text(".stvg-progress"), "real counts")
    browser.screenshot(SCREENSHOTS / "progress.png")
    browser.click("#stvg-stop")
    browser.wait(lambda: "Stopped" in browser.text("#stvg-status"), "the word that it stopped")
    browser.wait(lambda: endings == ["Cancelled"], "the work to stop")
    browser.wait(lambda: browser.one("#stvg-find").is_enabled(), "the button again")
    browser.ask("the frog resting")  # The same video again, without uploading it anew.
    browser.wait(lambda: "frame" in browser.text(".stvg-progress"), "real counts")
    browser.click("#stvg-stop")
    browser.wait(lambda: endings == ["Cancelled"] * 2, "the work to stop again")


def test_closing_the_tab_stops_the_work(
    browser: Browser, page: str, demo: Demo, long_video: Path, endings: list[str]
) -> None:
    browser.open(page)
    browser.upload(long_video)
    browser.ask("the dog jumping")
    browser.wait(lambda: "frame" in browser.text(".stvg-progress"), "real counts")
    browser.driver.get("about:blank")
    browser.wait(lambda: endings == ["Cancelled"], "the work to stop")
    browser.open(page)
    browser.upload(demo.clip)
    browser.ask(demo.query)
    assert browser.wait_for_answer(demo.query)


def test_same_video_twice_and_other_settings(browser: Browser, served: Served, demo: Demo) -> None:
    browser.open(served.url)
    browser.upload(demo.clip)
    browser.ask(demo.query)
    first = browser.wait_for_answer(demo.query)
    browser.ask("the frog")
    browser.wait_for_answer("the frog")
    browser.ask(demo.query)
    assert browser.wait_for_answer(demo.query) == first
    browser.click("#stvg-settings button")
    field = "input[aria-label='Frames a second that the model sees']"
    choice = browser.wait(lambda: browser.one(field), "settings")
    browser.wait(choice.is_displayed, "the choice")
    choice.click()
    option = "[role=listbox] [role=option][aria-label='2']"
    browser.wait(lambda: browser.driver.find_elements("css selector", option), "the numbers")
    browser.one(option).click()
    browser.screenshot(SCREENSHOTS / "settings.png")
    browser.ask(demo.query)
    browser.wait(lambda: "it was trained with" in browser.text("#stvg-shared"), "the remark")
    # Of four answers nothing is kept but the last and the small buttons to choose with.
    assert served.widgets_kept() <= {"Radio"}


def test_example_fills_the_question(
    browser: Browser, page: str, served: Served, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.open(page)
    assert browser.text("#stvg-status .stvg-caution") == SMALL_MODEL
    browser.click("#stvg-examples tbody tr")
    browser.wait(lambda: browser.text("#stvg-facts"), "the example's video")
    first = "the person walking to the left"  # Real footage comes first.
    assert browser.script("document.querySelector('#stvg-query textarea').value") == first
    assert not served.unguarded_uploads(), "an address in place of an upload would be fetched"
    # Another, half as long, asked before its length is known: the handles of the first neither cut
    # it nor are they refused.
    browser.take_part(3.0, 7.0)
    source = "document.querySelector('#stvg-upload video')?.currentSrc ?? ''"
    before = browser.script(source)
    asked, check = threading.Event(), page_events.check_video
    first_looks = iter([lambda: asked.wait(60)])

    def late(*arguments: Any) -> Any:
        next(first_looks, asked.set)()
        return check(*arguments)

    monkeypatch.setattr(page_events, "check_video", late)
    browser.click("#stvg-examples tbody tr:nth-child(3)")
    browser.wait(lambda: browser.typed() == demo.query, "another example")
    browser.wait(lambda: browser.script(source) not in ("", before), "its video")
    browser.click("#stvg-find")
    browser.wait_for_answer(demo.query)
    with open_video(demo.clip) as video:
        assert browser.looked_at() == pytest.approx((0, video.info.duration_seconds), abs=0.05)
    assert not browser.text("#stvg-card .stvg-caution")  # Here it may be believed.


@pytest.mark.parametrize("dark", [False, True])
def test_phone(browser: Browser, page: str, demo: Demo, dark: bool) -> None:
    browser.open(page, width=390, height=844, dark=dark)
    browser.upload(demo.clip)
    browser.ask(f"{demo.query}\nthe frog resting in the upper corner of the picture")
    browser.pick(1)
    browser.wait_for_answer(demo.query)
    browser.wait(lambda: browser.script(PLAYING), "a video that plays")
    # Nothing is cut off at the right, and the page is not scrolled sideways.
    assert browser.script("window.innerWidth") == 390
    assert browser.script("document.documentElement.scrollWidth") <= 390
    background = browser.script("getComputedStyle(document.body).backgroundColor")
    shade = sum(int(v) for v in re.findall(r"\d+", background)[:3])
    assert shade < 200 if dark else shade > 600
    browser.screenshot(SCREENSHOTS / f"phone-{'dark' if dark else 'light'}.png")


def test_keyboard_alone(browser: Browser, page: str, demo: Demo) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.upload(demo.clip)
    browser.one("#stvg-query textarea").send_keys(demo.query)
    ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(
        Keys.SHIFT
    ).perform()
    browser.wait_for_answer(demo.query)
    reached = set()
    for _ in range(60):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.add(browser.script("document.activeElement.className.toString().split(' ')[0]"))
    assert {"stvg-play", "stvg-frame", "stvg-object"} <= reached


def test_a_slow_machine_shows_an_answer_that_is_there_at_once(
    browser: Browser, page: str, demo: Demo
) -> None:
    """An example's answer comes in a burst, of which nothing may be lost; see `web.updates`."""
    browser.open(page)
    browser.upload(demo.clip)
    browser.ask(demo.query)
    browser.wait_for_answer(demo.query)
    browser.slow_down(8)
    try:
        browser.open(page)
        browser.upload(demo.clip)
        browser.ask(demo.query)
        browser.wait_for_answer(demo.query)
        assert browser.text("#stvg-objects")
    finally:
        browser.slow_down(1)


def test_nothing_but_this_server_is_asked(browser: Browser, page: str, demo: Demo) -> None:
    browser.addresses()
    browser.open(page)
    browser.upload(demo.clip)
    browser.ask(demo.query)
    browser.wait_for_answer(demo.query)
    asked = {a for a in browser.addresses() if not a.startswith(page.rstrip("/"))}
    assert not asked
