"""What the widgets do: a question becomes progress, and then an answer to look at."""

from __future__ import annotations

import json
import logging
import math
import re
from bisect import insort
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gradio as gr

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.web import markup, visits
from stvg_r1_hub.web.answers import Answered, Seen
from stvg_r1_hub.web.correcting import correct, redraw
from stvg_r1_hub.web.display import Display, Shown, chosen, new_value
from stvg_r1_hub.web.grounding import Grounder
from stvg_r1_hub.web.jobs import Step, in_background
from stvg_r1_hub.web.layout import ANSWER
from stvg_r1_hub.web.limits import check_video, split_queries
from stvg_r1_hub.web.models import Settings
from stvg_r1_hub.web.updates import send_whole

_LOG = logging.getLogger(__name__)
REMEMBER = "(visit, text) => window.stvgRemember(visit, {})"
FIT_HANDLES = "(...values) => window.stvgFitHandles(...values)"
CRASHED = (
    "Something went wrong on our side and has been written to the log. Try again, or try another "
    "video."
)


class Page(Display):
    """A page that answers."""

    def __init__(self, grounder: Grounder) -> None:
        """Lay out the page, and let its questions be answered by `grounder`."""
        super().__init__(grounder.registry, grounder.limits)
        self.grounder = grounder
        with self.blocks:
            self._events()
        send_whole(self.blocks)

    def _events(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        handles = [self.start, self.end, self.part_of]
        # How far the handles go is said in the page alone: a server that knew it would refuse where
        # the handles of the last video still stood when the next was asked about.
        self.video.change(
            self._look, self.video, [self.facts, self.part, self.length], **quiet
        ).then(None, [self.length, *handles], handles, js=FIT_HANDLES)
        ask = [self.video, self.text, self.part_of, *self.settings.values()]
        asked: dict[str, Any] = {
            "inputs": ask,
            "outputs": [self.facts, *self._running, *self._whole],
            "concurrency_limit": None,  # Visitors wait in the grounder's line, and are told so.
            "trigger_mode": "once",
            **quiet,
        }
        running = gr.on([self.find.click, self.text.submit], self._ask, **asked)
        tracking = self.track.click(self._only_track, **asked)
        # The address, and the list of what was asked, are the browser's own business.
        running.then(None, [self.visit, self.text], None, js=REMEMBER.format("text"))
        tracking.then(None, [self.visit, self.text], None, js=REMEMBER.format("''"))
        choice = [self.answers, self.picker, self.view]
        self.picker.input(self._pick, choice, self._one, **quiet)
        self.view.input(self._show_video, [self.seen, *choice], self.shown, **quiet)
        self.pick.click(
            self._correct,
            [self.picked, self.seen, self.answers, self.picker, self.text],
            [self.status, self.answers, self.picker, *self._one],
            concurrency_limit=1,
            js="(unused, ...others) => [window.stvgPicked, ...others]",
            **quiet,
        )
        self.again.click(
            self._prepare_again,
            [self.answers, self.picker, self.text, self.tracker],
            [self.text, self.tracker],
            **quiet,
        ).then(None, None, None, js="() => document.querySelector('#stvg-find').click()")
        self.style.input(
            self._draw,
            [self.seen, *choice[:2], self.style],
            [self.status, self.shown, self.view, self.get_video],
            concurrency_limit=1,
            **quiet,
        )
        stop: dict[str, Any] = {"queue": False, "api_visibility": "private"}
        stopped = [*self._running, self.panel]
        self.stop.click(
            self._stopped,
            None,
            stopped,
            cancels=[running, tracking],
            **stop,
        ).then(self._stopped, None, stopped, **stop)  # Progress on its way may have come last.
        link = "() => new URLSearchParams(location.search).get('visit') || ''"
        self.blocks.load(None, None, self.link, js=link)
        self.link.change(
            self._restore,
            self.link,
            [self.video, self.text, self.status, *handles, *self._whole],
            **quiet,
        )

    def _look(self, video: str | None) -> Shown:
        """What is known of an upload, said before anything is asked, and its length to trim."""
        seconds, facts = 0.0, ""
        if video is not None:
            try:
                info = check_video(video, self.grounder.limits)
                seconds, facts = info.duration_seconds, markup.note(markup.video_facts(info))
            except STVGError as error:
                facts = markup.problem(str(error))
        return {
            self.facts: new_value(facts),
            self.part: gr.update(visible=seconds > 0),
            self.length: new_value(json.dumps([video, seconds])),
        }

    def _only_track(
        self, video: str | None, text: str | None, *choices: Any
    ) -> Generator[Shown, None, None]:
        """The objects alone."""
        yield from self._work(video, "", [], *choices)

    def _ask(
        self, video: str | None, text: str | None, *choices: Any
    ) -> Generator[Shown, None, None]:
        """Progress, the objects, and one answer after the other; what goes wrong is a sentence."""
        try:
            queries = None if video is None else split_queries(text, self.grounder.limits)
        except STVGError as error:
            yield {**self._idle(markup.problem(str(error))), self.panel: gr.Column(visible=False)}
            return
        yield from self._work(video, text or "", queries or [], *choices)

    def _work(
        self, video: str | None, text: str, queries: list[str], part_of: str, *choices: Any
    ) -> Generator[Shown, None, None]:
        hidden = {self.panel: gr.Column(visible=False), self.visit: new_value("")}
        try:
            check_video(video, self.grounder.limits)
        except STVGError as error:
            # Beside the upload, where it may stand already: one error, one place.
            yield {**self._idle(""), **hidden, self.facts: new_value(markup.problem(str(error)))}
            return
        yield {
            self.status: new_value(markup.progress("start", 0, None)),
            self.find: gr.Button(interactive=False),
            self.track: gr.Button(interactive=False),
            self.stop: gr.Button(visible=True),
            **hidden,
        }
        settings = self._settings_of(*choices)
        if part_of != video:  # The handles were set for another one.
            settings = replace(settings, start_seconds=None, end_seconds=None)
        try:
            visit = yield from self._report(video, text, queries, settings)
        except STVGError as error:
            yield {**self._idle(markup.problem(str(error))), **hidden}
        except Exception:
            _LOG.exception("A question failed.")
            yield {**self._idle(markup.problem(CRASHED)), **hidden}
        else:
            visits.save(visit)
            yield {**self._idle(""), self.visit: new_value(visit.token)}

    def _settings_of(self, *choices: Any) -> Settings:
        """The widgets' values; what is left as it usually is stays out."""
        named = zip(self.settings, choices, strict=True)
        return Settings(**{n: v for n, v in named if not (n in self.numbers and v == 0)})

    def _report(
        self, video: str | None, text: str, queries: list[str], settings: Settings
    ) -> Generator[Shown, None, visits.Visit]:
        """Every step for the status line, and what is found as soon as it is."""
        ground = self.grounder.ground
        parts = in_background(lambda *tell: ground(video, queries, settings, *tell))
        seen: Seen | None = None
        # One list for this question: a correction meanwhile changes it in place.
        answers: list[Answered] = []
        with closing(parts):
            for part in parts:
                if isinstance(part, Step):
                    line = markup.progress(part.stage, part.done, part.total)
                    yield {self.status: new_value(line)}
                elif isinstance(part, Seen):
                    seen = part
                    yield self._objects_shown(seen, answers, queries)
                else:
                    insort(answers, part, key=lambda answer: answer.number)
                    yield self._answer_shown(answers, part)
        assert seen is not None
        return visits.Visit(text, seen, answers)

    def _stopped(self) -> Shown:
        stopped = self._idle(markup.note("Stopped. Nothing was kept."))
        return {**stopped, self.panel: gr.Column(visible=False)}

    def _correct(
        self, pick: str, seen: Seen | None, answers: list[Answered], picked: int | None, text: str
    ) -> Shown:
        """Make the object that was clicked on the answer; 0 takes the model's answer again."""
        answer = chosen(answers, picked)
        if seen is None or not re.fullmatch(r"\d{1,6}", pick or "", re.ASCII):
            return {self.status: gr.skip()}
        if answer is None:
            sentence = "Ask for something first, and wait for the answer: then it can be corrected."
            return {self.status: new_value(markup.note(sentence))}
        object_id = int(pick)
        if [object_id] == answer.values["object_ids"]:
            return {self.status: new_value("")}
        try:
            original = answer.before or answer
            if object_id in (0, *original.values["object_ids"]):  # type: ignore[misc]
                new = original
            else:
                new = correct(seen, answer, object_id)
        except STVGError as error:
            return {self.status: new_value(markup.problem(str(error)))}
        answers[answers.index(answer)] = new
        visits.save(visits.Visit(text, seen, answers))
        return {
            self.status: new_value(""),
            **self._looked_at(answers, new),
        }

    def _restore(self, token: str | None) -> Shown:
        """What an address asks for; a link whose files are gone says so."""
        visit = visits.load(self.grounder.folder, token or "")
        if visit is None:
            gone = "What this link showed is deleted by now, or the link is not whole: ask again."
            return {self.video: None, self.text: "", self.status: new_value(markup.problem(gone))}
        queries = [str(answer.values["query"]) for answer in visit.answers]
        shown = self._objects_shown(visit.seen, visit.answers, queries)
        if visit.answers:
            shown |= self._looked_at(visit.answers, visit.answers[0])
        # Never skipped, since what is asked is read from these: a skip would replace them.
        start, end = (math.floor(10 * seconds + 1e-6) / 10 for seconds in visit.seen.window)
        question = {
            self.video: str(visit.seen.video),
            self.text: visit.text,
            self.start: start,
            self.end: end,
            self.part_of: str(visit.seen.video),
        }
        return {**question, self.status: new_value(""), self.visit: new_value(token), **shown}

    def _draw(
        self, seen: Seen | None, answers: list[Answered], picked: int | None, style: list[str]
    ) -> Generator[Shown, None, None]:
        """Draw the answer as its visitor wants it; the moment alone is for the download."""
        answer = chosen(answers, picked)
        if seen is None or answer is None:
            return
        yield {self.status: new_value(markup.progress("writing", 0, None))}
        try:
            shown = redraw(seen, answer, set(style) - {"moment"})
            kept = redraw(seen, answer, style)
        except STVGError as error:
            yield {self.status: new_value(markup.problem(str(error)))}
            return
        yield {
            self.status: new_value(""),
            self.shown: new_value(str(shown or answer.marked)),
            self.view: new_value(ANSWER),
            self.get_video: gr.DownloadButton(value=str(kept or answer.marked)),
        }
