"""What the widgets do: a question becomes progress, and then an answer to look at."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import gradio as gr

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.web import markup, visits
from stvg_r1_hub.web.answers import TRACKS, Answered, Seen
from stvg_r1_hub.web.correcting import correct
from stvg_r1_hub.web.grounding import Grounder
from stvg_r1_hub.web.jobs import in_background
from stvg_r1_hub.web.layout import ANSWER, SEEN, Layout
from stvg_r1_hub.web.limits import check_video, split_queries
from stvg_r1_hub.web.models import Settings
from stvg_r1_hub.web.next_step import NextStep, next_step

_LOG = logging.getLogger(__name__)
REMEMBER = "(visit, text) => window.stvgRemember(visit, text)"
Shown = dict[Any, Any]
"""Updates of some widgets, and new values of states."""
CRASHED = (
    "Something went wrong on our side and has been written to the log. Try again, or try another "
    "video."
)


def settings_of(
    model: str,
    tracker: str,
    masks: bool,
    max_objects: float | None,
    sample_fps: float | None,
    megapixels: float | None,
    detect_fps: float | None,
    score_threshold: float | None,
    passes: int | str = 1,
) -> Settings:
    """The widgets' values as settings: 0 and nothing mean 'as the model was trained'."""
    return Settings(
        model=model,
        tracker=tracker,
        masks=masks,
        max_objects=int(max_objects) if max_objects else None,
        sample_fps=sample_fps or None,
        total_pixels=round(megapixels * 1e6) if megapixels else None,
        detect_fps=detect_fps or None,
        score_threshold=score_threshold or None,
        passes=passes,
    )


class Page(Layout):
    """A page that answers."""

    def __init__(self, grounder: Grounder) -> None:
        """Lay out the page, and let its questions be answered by `grounder`."""
        super().__init__(grounder.registry, grounder.limits)
        self.grounder = grounder
        with self.blocks:
            self._events()

    def _events(self) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.video.change(self._look, self.video, self.facts, **quiet)
        ask = [self.video, self.text, *self.settings]
        asked: dict[str, Any] = {
            "inputs": ask,
            "outputs": [self.facts, *self._running, *self._whole],
            "concurrency_limit": None,  # Visitors wait in the grounder's line, and are told so.
            "trigger_mode": "once",
            **quiet,
        }
        running = gr.on([self.find.click, self.text.submit], self._ask, **asked)
        tracking = self.track.click(self._only_track, **asked)
        for event in (running, tracking):
            # The address, and the list of what was asked, are the browser's own business.
            event.then(None, [self.visit, self.text], None, js=REMEMBER)
        choice = [self.answers, self.picker, self.view]
        self.picker.input(self._pick, choice, self._one, **quiet)
        self.view.input(self._show_video, [self.seen, *choice], self.shown, **quiet)
        self.pick.click(
            self._correct,
            [self.picked, self.seen, self.answers, self.picker, self.text],
            [self.status, self.answers, self.picker, self.view, *self._one],
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
        self.stop.click(
            self._stopped,
            None,
            [*self._running, self.panel],
            cancels=[running, tracking],
            queue=False,
            api_visibility="private",
        ).then(
            # Again, since progress that was on its way may have come last.
            self._stopped,
            None,
            [*self._running, self.panel],
            queue=False,
            api_visibility="private",
        )
        link = "() => new URLSearchParams(location.search).get('visit') || ''"
        self.blocks.load(None, None, self.link, js=link)
        self.link.change(
            self._restore,
            self.link,
            [self.video, self.text, self.status, *self._whole],
            **quiet,
        )

    @property
    def _running(self) -> list[Any]:
        return [self.status, self.find, self.track, self.stop]

    @property
    def _one(self) -> list[Any]:
        """What shows one answer."""
        return [
            self.card,
            self.shown,
            self.timeline,
            self.keyframes,
            self.reasoning,
            self.table,
            self.get_video,
            self.get_json,
            self.get_masks,
            self.get_sample,
            self.again,
        ]

    @property
    def _whole(self) -> list[Any]:
        """What shows all that was found in a video."""
        found = [self.panel, self.visit, self.seen, self.answers, self.picker, self.view]
        return [*found, self.shared, self.objects, *self._one]

    def _idle(self, status: str) -> Shown:
        return {
            self.status: _new(status),
            self.find: gr.Button(interactive=True),
            self.track: gr.Button(interactive=True),
            self.stop: gr.Button(visible=False),
        }

    def _look(self, video: str | None) -> Any:
        """What is known of an upload, said before anything is asked."""
        if video is None:
            return _new("")
        try:
            facts = markup.video_facts(check_video(video, self.grounder.limits))
        except STVGError as error:
            return _new(markup.problem(str(error)))
        return _new(markup.note(facts))

    def _only_track(
        self, video: str | None, text: str | None, *choices: Any
    ) -> Generator[Shown, None, None]:
        """The objects alone."""
        yield from self._work(video, "", [], choices)

    def _ask(
        self, video: str | None, text: str | None, *choices: Any
    ) -> Generator[Shown, None, None]:
        """Progress, the objects, and one answer after the other; what goes wrong is a sentence."""
        try:
            queries = None if video is None else split_queries(text, self.grounder.limits)
        except STVGError as error:
            yield {**self._idle(markup.problem(str(error))), self.panel: gr.Column(visible=False)}
            return
        yield from self._work(video, text or "", queries or [], choices)

    def _work(
        self, video: str | None, text: str, queries: list[str], choices: Sequence[Any]
    ) -> Generator[Shown, None, None]:
        hidden = {self.panel: gr.Column(visible=False), self.visit: _new("")}
        try:
            check_video(video, self.grounder.limits)
        except STVGError as error:
            # Beside the upload, where it may stand already: one error, one place.
            yield {**self._idle(""), **hidden, self.facts: _new(markup.problem(str(error)))}
            return
        yield {
            self.status: _new(markup.progress("start", 0, None)),
            self.find: gr.Button(interactive=False),
            self.track: gr.Button(interactive=False),
            self.stop: gr.Button(visible=True),
            **hidden,
        }
        try:
            visit = yield from self._report(video, text, queries, settings_of(*choices))
        except STVGError as error:
            yield {**self._idle(markup.problem(str(error))), **hidden}
        except Exception:
            _LOG.exception("A question failed.")
            yield {**self._idle(markup.problem(CRASHED)), **hidden}
        else:
            visits.save(visit)
            yield {**self._idle(""), self.visit: _new(visit.token)}

    def _report(
        self, video: str | None, text: str, queries: list[str], settings: Settings
    ) -> Generator[Shown, None, visits.Visit]:
        """Every step for the status line, and what is found as soon as it is."""
        made: SimpleQueue[Seen | Answered] = SimpleQueue()
        ground = self.grounder.ground
        steps = in_background(lambda p: ground(video, queries, settings, p, made.put))
        seen: Seen | None = None
        # One list for this question: a correction meanwhile changes it in place.
        answers: list[Answered] = []
        running = True
        try:
            while running:
                try:
                    step = next(steps)
                    said = markup.progress(step.stage, step.done, step.total)
                    yield {self.status: _new(said)}
                except StopIteration:
                    running = False
                while not made.empty():
                    new = made.get()
                    if isinstance(new, Seen):
                        seen = new
                        yield self._objects_shown(seen, answers, queries)
                    else:
                        answers.append(new)
                        yield self._answer_shown(answers)
        finally:
            steps.close()
        assert seen is not None
        return visits.Visit(text, seen, answers)

    def _objects_shown(self, seen: Seen, answers: list[Answered], queries: list[str]) -> Shown:
        """The panel with the objects, and no answer yet."""
        return {
            self.panel: gr.Column(visible=True),
            self.seen: seen,
            self.answers: answers,
            self.picker: gr.Radio(choices=[], value=None, visible=False),
            self.view: gr.Radio(value=SEEN, visible=False),
            self.shared: _new(seen.remarks),
            self.objects: _new(seen.objects),
            self.card: _new(markup.waiting_card(queries[0]) if queries else ""),
            self.shown: _new(str(seen.marked)),
            self.timeline: _new(seen.timeline),
            **{widget: _new("") for widget in (self.keyframes, self.reasoning)},
            self.table: _new([]),
            self.get_video: _download(seen.marked),
            self.get_json: _download(seen.folder / TRACKS),
            self.get_masks: _download(None),
            self.get_sample: _download(None),
            self.again: gr.Button(visible=False),
        }

    def _answer_shown(self, answers: list[Answered]) -> Shown:
        """One more to choose from; the first is shown."""
        shown: Shown = {self.answers: answers, self.picker: _picker(answers)}
        if len(answers) == 1:
            shown |= {
                self.picker: _picker(answers, 1),
                self.view: gr.Radio(value=ANSWER, visible=True),
            }
            shown |= self._values(answers[0])
        return shown

    def _stopped(self) -> Shown:
        stopped = self._idle(markup.note("Stopped. Nothing was kept."))
        return {**stopped, self.panel: gr.Column(visible=False)}

    def _correct(
        self, pick: str, seen: Seen | None, answers: list[Answered], picked: int | None, text: str
    ) -> Shown:
        """Make the object that was clicked on the answer; 0 takes the model's answer again."""
        answer = _chosen(answers, picked)
        if seen is None or not re.fullmatch(r"\d{1,6}", pick or "", re.ASCII):
            return {self.status: gr.skip()}
        if answer is None:
            sentence = "Ask for something first, and wait for the answer: then it can be corrected."
            return {self.status: _new(markup.note(sentence))}
        object_id = int(pick)
        if [object_id] == answer.values["object_ids"]:
            return {self.status: _new("")}
        try:
            original = answer.before or answer
            if object_id in (0, *original.values["object_ids"]):  # type: ignore[misc]
                new = original
            else:
                new = correct(seen, answer, object_id)
        except STVGError as error:
            return {self.status: _new(markup.problem(str(error)))}
        answers[answer.number - 1] = new
        visits.save(visits.Visit(text, seen, answers))
        return {
            self.status: _new(""),
            self.answers: answers,
            self.picker: _picker(answers, answer.number),
            self.view: gr.Radio(value=ANSWER, visible=True),
            **self._values(new),
        }

    def _restore(self, token: str | None) -> Shown:
        """What an address asks for; a link whose files are gone says so."""
        visit = visits.load(self.grounder.folder, token or "")
        if visit is None:
            gone = "What this link showed is deleted by now, or the link is not whole: ask again."
            return {self.video: None, self.text: "", self.status: _new(markup.problem(gone))}
        queries = [str(answer.values["query"]) for answer in visit.answers]
        shown = self._objects_shown(visit.seen, visit.answers, queries)
        if visit.answers:
            shown |= self._answer_shown(visit.answers[:1]) | {
                self.answers: visit.answers,
                self.picker: _picker(visit.answers, 1),
            }
        # Never skipped, since what is asked is read from these two: a skip would replace them.
        question = {self.video: str(visit.seen.video), self.text: visit.text}
        return {**question, self.status: _new(""), self.visit: _new(token), **shown}

    def _prepare_again(
        self, answers: list[Answered], picked: int | None, text: str, tracker: str
    ) -> tuple[str, str]:
        """What the button below an answer that was not found asks instead."""
        answer = _chosen(answers, picked)
        step = None if answer is None else self._next_step(answer)
        return (text, tracker) if step is None else (step.text or text, step.tracker or tracker)

    def _next_step(self, answer: Answered) -> NextStep | None:
        if answer.values["found"]:
            return None
        return next_step(
            str(answer.values["query"]), str(answer.values["tracker"]), self.trackers_here
        )

    def _pick(self, answers: list[Answered], picked: int | None, view: str) -> Shown:
        answer = _chosen(answers, picked)
        return {self.card: gr.skip()} if answer is None else self._values(answer, view)

    def _values(self, answer: Answered, view: str = ANSWER) -> Shown:
        """One answer on all widgets."""
        step = self._next_step(answer)
        overlay = None if view == SEEN else answer.overlay
        return {
            self.card: _new(answer.card),
            self.shown: _new(str(overlay or answer.marked)),
            self.timeline: _new(answer.timeline),
            self.keyframes: _new(answer.keyframes),
            self.reasoning: _new(answer.reasoning),
            self.table: _new(answer.rows),
            self.get_video: _download(answer.overlay),
            self.get_json: _download(answer.json),
            self.get_masks: _download(answer.masks),
            self.get_sample: _download(answer.sample),
            self.again: gr.Button(step.label if step else "", visible=step is not None),
        }

    def _show_video(
        self, seen: Seen | None, answers: list[Answered], picked: int | None, view: str
    ) -> Any:
        answer = _chosen(answers, picked)
        if seen is None:
            return gr.skip()
        overlay = None if answer is None or view == SEEN else answer.overlay
        return _new(str(overlay or seen.marked))


def _new(value: Any) -> Any:
    """A widget's value as an update, as which every value goes to a widget that some events skip.

    A bare value after a skip makes gradio 6.31 keep one more widget, with its value, for as long
    as it remembers the visit; an update takes the last one's place.
    """
    return gr.update(value=value)


def _chosen(answers: list[Answered], picked: int | None) -> Answered | None:
    if not answers:
        return None
    return answers[min(max(1, picked or 1), len(answers)) - 1]


def _picker(answers: list[Answered], picked: int | None = None) -> gr.Radio:
    """The answers to choose from; without a choice, what the visitor looks at stays."""
    choices = [(f"{answer.number}. {answer.summary}", answer.number) for answer in answers]
    more: dict[str, Any] = {} if picked is None else {"value": picked}
    return gr.Radio(choices=choices, visible=len(choices) > 1, **more)


def _download(path: Path | None) -> gr.DownloadButton:
    """The button of a file that not every answer has."""
    return gr.DownloadButton(value=None if path is None else str(path), visible=path is not None)
