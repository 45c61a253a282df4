"""A visit in a real browser: objects before answers, corrections, links, and what axe finds."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
import pytest

from tests.web.browser import Browser
from tests.web.conftest import Demo, Served

pytestmark = pytest.mark.slow
SOURCE = "document.querySelector('#stvg-video video')?.currentSrc ?? ''"
PLACE_OF = """(() => {
  const {times, boxes} = JSON.parse(document.querySelector('[data-boxes]').dataset.boxes);
  const video = document.querySelector('#stvg-video video');
  video.pause();
  video.scrollIntoView();
  const apart = (i) => Math.abs(times[i] - video.currentTime);
  const nearest = times.reduce((best, _, i) => (apart(i) < apart(best) ? i : best), 0);
  const frame = video.getBoundingClientRect();
  const scale = Math.min(frame.width / video.videoWidth, frame.height / video.videoHeight);
  const box = boxes['%d'][nearest];
  const width = video.videoWidth * scale, height = video.videoHeight * scale;
  return [
    frame.left + (frame.width - width) / 2 + (box[0] + box[2]) / 2000 * width,
    frame.top + (frame.height - height) / 2 + (box[1] + box[3]) / 2000 * height,
  ];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    window = Browser(tmp_path_factory.mktemp("profile"))
    yield window
    window.close()


def asked(browser: Browser, page: str, demo: Demo, text: str, **look: Any) -> None:
    browser.open(page, **look)
    browser.upload(demo.clip)
    browser.ask(text)
    browser.wait(lambda: "visit=" in browser.driver.current_url, "the end of the question")


def answered_number(browser: Browser) -> int:
    return int(browser.one("#stvg-card [data-object]").get_attribute("data-object"))


def test_objects_come_before_the_answers(browser: Browser, page: str, demo: Demo) -> None:
    browser.open(page)
    browser.upload(demo.clip)
    browser.ask("the frog\nthe sheep")
    # In one look, since the answer may come between two.
    first = "({card: document.querySelector('#stvg-card [data-found]')?.dataset.found,"
    first += "objects: document.querySelectorAll('.stvg-object').length})"
    seen = browser.wait(
        lambda: (now := browser.script(first)) and now["objects"] and now, "the objects"
    )
    assert seen["objects"] >= 3 and seen["card"] in ("soon", "true")
    browser.wait_for_answer("the frog")
    browser.wait(
        lambda: len(browser.driver.find_elements("css selector", "#stvg-picker label")) == 2,
        "the second answer",
    )


def test_a_click_corrects_and_another_takes_it_back(
    browser: Browser, page: str, demo: Demo
) -> None:
    asked(browser, page, demo, demo.query)
    said = answered_number(browser)
    others = [number for number in (1, 2, 3) if number != said]
    browser.click(f".stvg-object[data-pick='{others[0]}']")
    browser.wait(lambda: answered_number(browser) == others[0], "the correction from the list")
    browser.wait(lambda: f"object-{others[0]}" in browser.script(SOURCE), "its video")
    assert "Corrected by hand" in browser.text("#stvg-card")
    assert browser.one("#stvg-sample").is_displayed()
    browser.click(f".stvg-lane [data-pick='{others[1]}']")
    browser.wait(lambda: answered_number(browser) == others[1], "the one from the timeline")
    browser.driver.refresh()
    browser.wait(lambda: answered_number(browser) == others[1], "it after a reload")
    browser.click("#stvg-card [data-pick='0']")
    browser.wait(lambda: answered_number(browser) == said, "the model's answer")
    browser.wait(
        lambda: not browser.driver.find_elements("css selector", "#stvg-sample"), "no sample of it"
    )
    browser.wait(lambda: "answer-1.mp4" in browser.script(SOURCE), "the model's video")
    browser.wait(
        lambda: browser.script("document.querySelector('#stvg-video video').readyState") >= 2,
        "a picture to click on",
    )
    x, y = browser.script(PLACE_OF % others[0])
    for event, number in (("click", said), ("dblclick", others[0])):  # One click only pauses.
        browser.script("delete window.stvgPicked")
        browser.script(
            f"document.elementFromPoint({x}, {y}).dispatchEvent("
            f"new MouseEvent('{event}', {{bubbles: true, clientX: {x}, clientY: {y}}}))"
        )
        assert browser.script("window.stvgPicked") == (None if number == said else str(number))
    browser.wait(lambda: answered_number(browser) == others[0], "the one from the picture")


def test_a_part_and_other_drawings(browser: Browser, served: Served, demo: Demo) -> None:
    browser.open(served.url)
    browser.upload(demo.clip)
    browser.take_part(1.0, 3.5)
    browser.ask(demo.query)
    browser.wait_for_answer(demo.query)
    begin, length = browser.looked_at()
    assert (begin, length) == pytest.approx((1.0, 2.5), abs=0.05)
    card = browser.one("#stvg-card [data-start]")
    start, end = (float(card.get_attribute(f"data-{w}")) for w in ("start", "end"))
    assert begin <= start < end <= begin + length + 0.01
    browser.wait(lambda: "answer-1.mp4" in browser.script(SOURCE), "the answer's video")
    moment = "document.querySelector('#stvg-video video').%s"
    browser.wait(lambda: (browser.script(moment % "duration") or 0) > 0, "its length")
    assert browser.script(moment % "duration") == pytest.approx(length, abs=0.1)
    browser.wait(
        lambda: start - 0.1 <= begin + browser.script(moment % "currentTime") <= end + 0.5,
        "the moment, on the clock of the part",
    )
    browser.click("#stvg-style label:nth-of-type(2) input")
    browser.wait(lambda: "answer-1-blur.mp4" in browser.script(SOURCE), "a blurred background")
    browser.click("#stvg-style label:nth-of-type(4) input")
    browser.wait(
        lambda: any(served.grounder.folder.rglob("answer-1-blur-moment.mp4")), "the moment alone"
    )
    browser.wait(lambda: not browser.text("#stvg-status"), "the end of the drawing")
    assert "answer-1-blur.mp4" in browser.script(SOURCE)
    # Its link brings the part back too, and the next question is about it.
    browser.driver.refresh()
    browser.wait_for_answer(demo.query)
    browser.wait(lambda: "frames a second" in browser.text("#stvg-facts"), "the video")
    assert browser.part() == (1.0, 3.5)
    browser.ask("the frog")
    browser.wait_for_answer("the frog")
    assert browser.looked_at() == (begin, length)


def test_a_part_of_nothing_is_one_sentence(browser: Browser, page: str, demo: Demo) -> None:
    browser.open(page)
    browser.upload(demo.clip)
    browser.wait(lambda: browser.one("#stvg-part").is_displayed(), "the handles")
    browser.click("#stvg-part button")
    field = "[aria-label='range slider for From second']"
    browser.wait(lambda: browser.one(field).is_displayed(), "a handle")
    browser.one(field).send_keys("\ue010")  # The End key: from the end on.
    browser.ask(demo.query)
    browser.wait(lambda: "its start must come before its end" in browser.text("main"), "why not")
    assert not browser.text("#stvg-card")


def test_a_link_brings_everything_back(browser: Browser, page: str, demo: Demo) -> None:
    asked(browser, page, demo, f"{demo.query}\na penguin spins")
    browser.pick(1)
    link, when = browser.driver.current_url, browser.wait_for_answer(demo.query)
    asked(browser, page, demo, "the frog")
    assert "a penguin spins" in browser.text("#stvg-history")
    browser.driver.get(link)
    browser.wait_for_answer(demo.query)
    assert browser.text("#stvg-card .stvg-when") == when
    typed = "document.querySelector('#stvg-query textarea').value"
    assert browser.script(typed) == f"{demo.query}\na penguin spins"
    browser.wait(lambda: "frames a second" in browser.text("#stvg-facts"), "the video")
    # What was not found offers what can be asked.
    browser.pick(2)
    assert browser.wait_for_answer("a penguin spins") == "Not found in this video"
    assert browser.text("#stvg-again")
    offered = browser.text(".stvg-ask")
    browser.click(".stvg-ask")
    assert offered and browser.script(typed) == offered
    browser.driver.get(f"{page}?visit={'0' * 32}")
    browser.wait(lambda: "deleted by now" in browser.text("#stvg-status"), "what became of it")


def test_objects_alone(browser: Browser, page: str, demo: Demo) -> None:
    browser.open(page)
    browser.upload(demo.clip)
    browser.write("something to ask later")
    browser.click("#stvg-track")
    browser.wait(lambda: "visit=" in browser.driver.current_url, "the end")
    assert browser.text("#stvg-history li").startswith("only the objects")
    assert browser.text("#stvg-objects") and not browser.text("#stvg-card")
    assert "reasoning" not in browser.text("#stvg-answer")  # No folds with nothing in them.
    assert "what-the-model-saw" in browser.script(SOURCE)
    browser.click(".stvg-object")  # Nothing was asked that could be corrected.
    browser.wait(lambda: "Ask for something first" in browser.text("#stvg-status"), "why not")


def contrast(one: list[float], other: list[float]) -> float:
    """Of two sRGB colours in 0..255, as WCAG counts it."""
    channels = np.array([one[:3], other[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((light + 0.05) / (dark + 0.05))


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 390)])
def test_axe_finds_nothing_serious(
    browser: Browser, page: str, demo: Demo, dark: bool, width: int
) -> None:
    asked(browser, page, demo, f"{demo.query}\na penguin spins", dark=dark, width=width)
    browser.pick(1)
    browser.wait_for_answer(demo.query)
    for fold in ("#stvg-settings", "#stvg-part"):
        browser.click(f"{fold} button")
    # What axe does not measure: the box of what is not ticked stands out from its ground.
    box, ground = browser.script(
        "((box) => [box, box.parentElement].map((e, i) => getComputedStyle(e)"
        "[i ? 'backgroundColor' : 'borderTopColor'].match(/[\\d.]+/g).map(Number)))"
        "(document.querySelector('#stvg-style input'))"
    )
    assert contrast(box, ground) >= 3
    axe = resources.files("axe_core_python") / "axe.min.js"
    browser.driver.execute_script(axe.read_text(encoding="utf-8"))
    found = browser.driver.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document).then(({violations}) => done(violations.map("
        "(v) => [v.impact, v.id, v.nodes.map((n) => n.html.slice(0, 200))])));"
    )
    assert not [one for one in found if one[0] in ("serious", "critical")]
