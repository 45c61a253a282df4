"""The widgets of the page and what they do; `api` adds the endpoints that programs call."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.web import markup
from stvg_r1_hub.web.grounding import Answered, Grounder
from stvg_r1_hub.web.jobs import in_background
from stvg_r1_hub.web.limits import check_video, split_queries
from stvg_r1_hub.web.models import Settings

_LOG = logging.getLogger(__name__)
DEMO = Path(__file__).parents[1] / "bundled" / "demo"
TITLE = "STVG-R1: where and when in this video?"
HEAD = (
    '<header class="stvg-head"><h1>Where and when in this video is <em>what you describe</em>?'
    "</h1><p>Every object gets a number. A model watches the numbered video and answers with a "
    "number and a time range; that becomes boxes.</p></header>"
)
HOW = (
    '<div class="stvg-how"><strong>The answer will be here.</strong><ol>'
    "<li>Drop a video on the left, or take the example below it.</li>"
    "<li>Say what to look for: <strong>the dog jumping</strong>. One description a line; "
    "all of them are asked of the same video.</li>"
    "<li>Watch the moment, and see why the model chose it.</li></ol></div>"
)
CRASHED = (
    "Something went wrong on our side and has been written to the log. Try again, or try another "
    "video."
)
COLUMNS = ["frame", "seconds", "number", "left", "top", "right", "bottom"]
ANSWER, SEEN = "The answer", "What the model saw"


def upload_only(video: gr.Video) -> gr.Video:
    """The same widget; an address in place of an upload is refused, never fetched."""
    # On the instance, because a subclass would make gradio write a .pyi file into the package.
    move, move_async = video.move_resource_to_block_cache, video.async_move_resource_to_block_cache

    def checked(path: str | Path | None) -> str | None:
        _refuse_address(path)
        return move(path)

    async def checked_async(path: str | Path | None) -> str | None:
        _refuse_address(path)
        return await move_async(path)

    vars(video).update(
        move_resource_to_block_cache=checked, async_move_resource_to_block_cache=checked_async
    )
    return video


def _refuse_address(value: str | Path | None) -> None:
    if str(value or "").lower().startswith(("http://", "https://")):
        raise gr.Error(
            "Addresses are not fetched here: download the video and upload the file.",
            print_exception=False,
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
    )


class Page:
    """One page: the widgets, and the functions that move them."""

    def __init__(self, grounder: Grounder, *, at_once: int = 1) -> None:
        """Lay out the page.

        Args:
            grounder: answers the questions.
            at_once: questions worked on side by side; the others wait in line.
        """
        self.grounder = grounder
        self.at_once = at_once
        limits = grounder.limits
        with gr.Blocks(
            title=TITLE,
            analytics_enabled=False,
            delete_cache=(min(600, limits.keep_seconds), limits.keep_seconds),
        ) as self.blocks:
            gr.HTML(HEAD, elem_classes="stvg-slot")
            with gr.Row(equal_height=False):
                with gr.Column(scale=5, min_width=320):
                    self._question()
                with gr.Column(scale=7, min_width=320):
                    self._answer()
            self._events()

    def _question(self) -> None:
        self.video = upload_only(
            gr.Video(label="Video", sources=["upload", "webcam"], elem_id="stvg-upload")
        )
        self.facts = gr.HTML(elem_id="stvg-facts", elem_classes="stvg-slot")
        self.text = gr.Textbox(
            label="What to look for",
            info="One description a line. Shift+Enter asks.",
            placeholder="the dog jumping",
            lines=2,
            max_lines=8,
            elem_id="stvg-query",
        )
        with gr.Row():
            self.find = gr.Button("Find it", variant="primary", elem_id="stvg-find")
            self.stop = gr.Button("Stop", visible=False, elem_id="stvg-stop")
        if (DEMO / "clip.mp4").is_file():
            query = json.loads((DEMO / "demo.json").read_text(encoding="utf-8"))["query"]
            self.examples = gr.Examples(
                [[str(DEMO / "clip.mp4"), query]],
                [self.video, self.text],
                label="An example to try",
                cache_examples=False,
                elem_id="stvg-examples",
                api_visibility="private",
            )
        with gr.Accordion("Settings", open=False, elem_id="stvg-settings"):
            self._settings()

    def _settings(self) -> None:
        names = self.grounder.shelf.names
        self.model = gr.Dropdown(list(names), value=names[0], label="Model")
        self.tracker = gr.Dropdown(
            list(self.grounder.shelf.trackers), value="auto", label="Tracker"
        )
        self.masks = gr.Checkbox(label="Outline the object instead of boxing it (masks)")
        self.max_objects = gr.Slider(
            0, 99, 0, step=1, label="Most objects to consider", info="0: as the model was trained"
        )
        self.sample_fps = gr.Slider(
            0, 8, 0, step=0.5, label="Frames a second that the model sees", info="0: as trained"
        )
        self.megapixels = gr.Slider(
            0, 4, 0, step=0.1, label="Million pixels for all these frames", info="0: as trained"
        )
        self.detect_fps = gr.Slider(
            0, 30, 0, step=1, label="Frames a second that are searched for objects", info="0: usual"
        )
        self.threshold = gr.Slider(
            0, 0.95, 0, step=0.05, label="Least certainty of an object", info="0: usual"
        )

    def _answer(self) -> None:
        self.status = gr.HTML(HOW, elem_id="stvg-status", elem_classes="stvg-slot")
        self.answers = gr.State([], time_to_live=self.grounder.limits.keep_seconds)
        with gr.Column(visible=False, elem_id="stvg-answer") as self.panel:
            self.picker = gr.Radio([], label="Descriptions", visible=False, elem_id="stvg-picker")
            self.card = gr.HTML(elem_id="stvg-card", elem_classes="stvg-slot")
            self.view = gr.Radio(
                [ANSWER, SEEN], value=ANSWER, show_label=False, container=False, elem_id="stvg-view"
            )
            self.shown = gr.Video(show_label=False, autoplay=True, elem_id="stvg-video")
            self.timeline = gr.HTML(elem_id="stvg-timeline", elem_classes="stvg-slot")
            self.keyframes = gr.HTML(elem_id="stvg-keyframes", elem_classes="stvg-slot")
            with gr.Accordion("Why: the model's reasoning", open=True):
                self.reasoning = gr.HTML(elem_id="stvg-reasoning", elem_classes="stvg-slot")
            with gr.Accordion("Every box as a table", open=False):
                self.table = gr.Dataframe(
                    headers=COLUMNS, interactive=False, max_height=320, elem_id="stvg-table"
                )
            with gr.Row():
                self.get_video = gr.DownloadButton("Video (mp4)", size="sm")
                self.get_json = gr.DownloadButton("Answer (JSON)", size="sm", elem_id="stvg-json")
                self.get_masks = gr.DownloadButton("Masks (PNG)", size="sm", visible=False)

    @property
    def settings(self) -> list[Any]:
        """The widgets of `settings_of`, in its order."""
        return [
            self.model,
            self.tracker,
            self.masks,
            self.max_objects,
            self.sample_fps,
            self.megapixels,
            self.detect_fps,
            self.threshold,
        ]

    def _events(self) -> None:
        self.video.change(
            self._look, self.video, self.facts, api_visibility="private", show_progress="hidden"
        )
        running = gr.on(
            [self.find.click, self.text.submit],
            self._ask,
            [self.video, self.text, *self.settings],
            [self.status, self.find, self.stop, self.panel, self.answers, self.picker, self.view],
            concurrency_limit=self.at_once,
            concurrency_id="ground",
            show_progress="hidden",
            trigger_mode="once",
            api_visibility="private",
        )
        shown = [
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
        self.stop.click(
            self._stopped,
            None,
            [self.status, self.find, self.stop],
            cancels=[running],
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
        yield markup.progress("start", 0, None), *busy, gr.Column(visible=False), [], skip, ANSWER
        try:
            queries = split_queries(text, self.grounder.limits)
            settings = settings_of(*choices)
            steps = in_background(
                lambda progress: self.grounder.ground(video, queries, settings, progress)
            )
            answers = yield from self._report(steps)
        except STVGError as error:
            yield markup.problem(str(error)), *idle, gr.Column(visible=False), [], skip, skip
            return
        except Exception:
            _LOG.exception("A question failed.")
            yield markup.problem(CRASHED), *idle, gr.Column(visible=False), [], skip, skip
            return
        names = [f"{i}. {answer.summary}" for i, answer in enumerate(answers, start=1)]
        picker = gr.Radio(choices=names, value=names[0], visible=len(names) > 1)
        yield "", *idle, gr.Column(visible=True), answers, picker, skip

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
                yield html, *[gr.skip()] * 6
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
            return (gr.skip(),) * 9
        return (
            answer.card,
            self._show_video(answers, picked, view),
            answer.timeline,
            answer.keyframes,
            answer.reasoning,
            answer.rows,
            str(answer.overlay),
            str(answer.json),
            gr.DownloadButton(
                value=str(answer.masks) if answer.masks else None, visible=answer.masks is not None
            ),
        )

    def _show_video(self, answers: list[Answered], picked: str | None, view: str) -> Any:
        answer = self._chosen(answers, picked)
        if answer is None:
            return gr.skip()
        path = answer.marked if view == SEEN else answer.overlay
        return str(path)
