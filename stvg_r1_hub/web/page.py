"""What the widgets do: a question becomes progress, and then an answer to look at."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.web import markup
from stvg_r1_hub.web.grounding import Answered, Grounder
from stvg_r1_hub.web.jobs import in_background
from stvg_r1_hub.web.layout import ANSWER, SEEN, Layout
from stvg_r1_hub.web.limits import check_video, split_queries
from stvg_r1_hub.web.models import Settings

_LOG = logging.getLogger(__name__)
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
        self.video.change(
            self._look, self.video, self.facts, api_visibility="private", show_progress="hidden"
        )
        running = gr.on(
            [self.find.click, self.text.submit],
            self._ask,
            [self.video, self.text, *self.settings],
            [
                self.status,
                self.find,
                self.stop,
                self.panel,
                self.answers,
                self.picker,
                self.view,
                self.facts,
            ],
            concurrency_limit=None,  # Visitors wait in the grounder's line, and are told so.
            show_progress="hidden",
            trigger_mode="once",
            api_visibility="private",
        )
        shown = [
            self.status,
            self.card,
            self.shown,
            self.timeline,
            self.keyframes,
            self.reasoning,
            self.table,
            self.get_video,
            self.get_json,
            self.get_masks,
        ]
        choice = [self.answers, self.picker, self.view]
        for event in (running.success, self.picker.input):
            event(self._show, choice, shown, api_visibility="private", show_progress="hidden")
        self.view.input(
            self._show_video, choice, self.shown, api_visibility="private", show_progress="hidden"
        )
        stopped = [self.status, self.find, self.stop]
        self.stop.click(
            self._stopped, None, stopped, cancels=[running], queue=False, api_visibility="private"
        ).then(
            # Again, since progress that was on its way may have come last.
            self._stopped,
            None,
            stopped,
            queue=False,
            api_visibility="private",
        )

    def _look(self, video: str | None) -> str:
        """What is known of an upload, said before anything is asked."""
        if video is None:
            return ""
        try:
            return markup.note(markup.video_facts(check_video(video, self.grounder.limits)))
        except STVGError as error:
            return markup.problem(str(error))

    def _ask(
        self, video: str | None, text: str | None, *choices: Any
    ) -> Generator[tuple[Any, ...], None, None]:
        """Progress, then the answers; what goes wrong is a sentence."""
        skip = gr.skip()
        busy = gr.Button(interactive=False), gr.Button(visible=True)
        idle = gr.Button(interactive=True), gr.Button(visible=False)
        hidden = gr.Column(visible=False)
        try:
            check_video(video, self.grounder.limits)
        except STVGError as error:
            # Beside the upload, where it may stand already: one error, one place.
            yield "", *idle, hidden, [], skip, skip, markup.problem(str(error))
            return
        yield markup.progress("start", 0, None), *busy, hidden, [], skip, ANSWER, skip
        try:
            queries = split_queries(text, self.grounder.limits)
            settings = settings_of(*choices)
            steps = in_background(
                lambda progress: self.grounder.ground(video, queries, settings, progress)
            )
            answers = yield from self._report(steps)
        except STVGError as error:
            yield markup.problem(str(error)), *idle, hidden, [], skip, skip, skip
            return
        except Exception:
            _LOG.exception("A question failed.")
            yield markup.problem(CRASHED), *idle, hidden, [], skip, skip, skip
            return
        names = [f"{i}. {answer.summary}" for i, answer in enumerate(answers, start=1)]
        picker = gr.Radio(choices=names, value=names[0], visible=len(names) > 1)
        # The panel is still empty: on a slow line this is read until `_show` has filled it.
        message = markup.progress("show", 0, None)
        yield message, *idle, gr.Column(visible=True), answers, picker, skip, skip

    @staticmethod
    def _report(
        steps: Generator[Any, None, list[Answered]],
    ) -> Generator[tuple[Any, ...], None, list[Answered]]:
        """Every step as HTML for the status line, the other outputs left alone."""
        try:
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    return list(end.value)
                html = markup.progress(step.stage, step.done, step.total)
                yield html, *[gr.skip()] * 7
        finally:
            steps.close()

    @staticmethod
    def _stopped() -> tuple[Any, ...]:
        return (
            markup.note("Stopped. Nothing was kept."),
            gr.Button(interactive=True),
            gr.Button(visible=False),
        )

    @staticmethod
    def _chosen(answers: list[Answered], picked: str | None) -> Answered | None:
        if not answers:
            return None
        number = int(picked.split(".")[0]) if picked else 1
        return answers[min(max(1, number), len(answers)) - 1]

    def _show(self, answers: list[Answered], picked: str | None, view: str) -> tuple[Any, ...]:
        """One answer on all widgets."""
        answer = self._chosen(answers, picked)
        if answer is None:
            return (gr.skip(),) * 10
        return (
            answer.shared,
            answer.card,
            self._show_video(answers, picked, view),
            answer.timeline,
            answer.keyframes,
            answer.reasoning,
            answer.rows,
            _download(answer.overlay),
            str(answer.json),
            _download(answer.masks),
        )

    def _show_video(self, answers: list[Answered], picked: str | None, view: str) -> Any:
        answer = self._chosen(answers, picked)
        if answer is None:
            return gr.skip()
        path = answer.marked if view == SEEN else answer.overlay or answer.marked
        return str(path)


def _download(path: Path | None) -> gr.DownloadButton:
    """The button of a file that not every answer has."""
    return gr.DownloadButton(value=None if path is None else str(path), visible=path is not None)
