"""The widgets of the page and where they stand."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import gradio as gr
from anyio import to_thread
from gradio.processing_utils import save_bytes_to_cache

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.examples import bundled_examples
from stvg_r1_hub.hub import ABOUT_BUNDLED
from stvg_r1_hub.video.download import download
from stvg_r1_hub.web import markup
from stvg_r1_hub.web.limits import Limits
from stvg_r1_hub.web.models import (
    BUNDLED,
    TRACKER_LABELS,
    ModelRegistry,
)

TITLE = "STVG-R1: where and when in this video?"
HEAD = (
    '<header class="stvg-head"><h1>Where and when in this video is <em>what you describe</em>?'
    "</h1><p>Every object gets a number. A model watches the numbered video and answers with a "
    "number and a time range; that becomes boxes.</p></header>"
)
FLOW = base64.b64encode((Path(__file__).parent / "flow.webp").read_bytes()).decode("ascii")
HOW = (
    '<div class="stvg-how">'
    f'<img src="data:image/webp;base64,{FLOW}" alt="A frame, the same frame with a red number on '
    "every object, the model's words, and the answered object in a box.\">"
    "<strong>The answer will be here.</strong><ol>"
    "<li>Drop a video, record one, or take an example.</li>"
    "<li>Say what to look for: <strong>the dog jumping</strong>. One description a line; "
    "all of them are asked of the same video.</li>"
    "<li>Watch the moment, and see why the model chose it.</li></ol>{}</div>"
)
COLUMNS = ["frame", "seconds", "number", "left", "top", "right", "bottom"]
ANSWER, SEEN = "The answer", "What the model saw"


def upload_only(video: gr.Video, *, fetch: bool = False) -> gr.Video:
    """The same widget, which takes an address in place of an upload only with `fetch`.

    What is fetched is fetched by `video_download`: public addresses alone, and not for ever.
    """
    # On the instance, because a subclass would make gradio write a .pyi file into the package.
    move, move_async = video.move_resource_to_block_cache, video.async_move_resource_to_block_cache

    def local(path: str | Path | None) -> str | Path | None:
        if not str(path or "").lower().startswith(("http://", "https://")):
            return path
        if not fetch:
            raise gr.Error(
                "Addresses are not fetched here: download the video and upload the file.",
                print_exception=False,
            )
        try:
            content = download(str(path))
        except STVGError as error:
            raise gr.Error(str(error), print_exception=False) from None
        kept: str = save_bytes_to_cache(content, "fetched-video", video.GRADIO_CACHE)
        return kept

    def checked(path: str | Path | None) -> str | None:
        return move(local(path))

    async def checked_async(path: str | Path | None) -> str | None:
        return await move_async(await to_thread.run_sync(local, path))

    vars(video).update(
        move_resource_to_block_cache=checked, async_move_resource_to_block_cache=checked_async
    )
    return video


class Layout:
    """All widgets, laid out; what they do is said elsewhere."""

    def __init__(self, registry: ModelRegistry, limits: Limits) -> None:
        """Lay out the page for these models."""
        self.registry = registry
        self.limits = limits
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
        if examples := bundled_examples():
            self.examples = gr.Examples(
                [[str(clip), query] for _, clip, query in examples],
                [self.video, self.text],
                label="Examples to try",
                cache_examples=False,
                elem_id="stvg-examples",
                api_visibility="private",
            )
        with gr.Accordion("Settings", open=False, elem_id="stvg-settings"):
            self._settings()

    def _settings(self) -> None:
        names = self.registry.names
        self.model = gr.Dropdown(list(names), value=names[0], label="Model")
        trackers = [(TRACKER_LABELS.get(name, name), name) for name in self.registry.trackers]
        self.tracker = gr.Dropdown(trackers, value="auto", label="What finds the objects")
        self.masks = gr.Checkbox(label="Outline the object with SAM 2 (masks)")
        self.max_objects = gr.Slider(
            0, 99, 0, step=1, label="Most objects to consider", info="0: as the model was trained"
        )
        self.sample_fps = gr.Slider(
            0,
            8,
            0,
            step=0.5,
            label="Frames a second that the model sees",
            info="0: as trained",
            elem_id="stvg-sample-fps",
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
        small = self.registry.names[0] == BUNDLED
        caution = markup.caution(ABOUT_BUNDLED) if small else ""
        self.status = gr.HTML(HOW.format(caution), elem_id="stvg-status", elem_classes="stvg-slot")
        self.answers = gr.State([], time_to_live=self.limits.keep_seconds)
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
