"""The widgets of the page and where they stand."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from anyio import to_thread
from gradio.processing_utils import save_bytes_to_cache

from stvg_r1_hub.device import pick_device
from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.examples import bundled_examples
from stvg_r1_hub.video.download import download
from stvg_r1_hub.web import markup, reach
from stvg_r1_hub.web.correcting import STYLE_LABELS
from stvg_r1_hub.web.limits import Limits
from stvg_r1_hub.web.models import BUNDLED, MODEL_LABELS, TRACKER_LABELS, ModelRegistry

TITLE = "STVG-R1: where and when in this video?"
HEAD = (
    '<header class="stvg-head"><h1>Where and when in this video is <em>what you describe</em>?'
    "</h1><p>Every object gets a number. A model watches the numbered video and answers with a "
    "number and a time range; that becomes boxes.</p>"
    '<nav aria-label="About">'
    '<a href="https://arxiv.org/abs/2602.11730">Paper</a>'
    '<a href="https://github.com/XiaowZhang00/stvg-r1">Code of the paper</a>'
    f'<a href="https://huggingface.co/{reach.PUBLISHED}">Model</a>'
    "{}</nav></header>"
)
SMALL_MODEL = (
    "This small built-in model finds everyday objects by kind, colour, place and movement; what "
    "somebody does beyond that needs the paper's model."
)
"""What its visitors must know of `ABOUT_BUNDLED`."""
HISTORY = (
    '<section id="stvg-history" class="stvg-history" hidden><h2>Asked in this browser</h2>'
    "<ul></ul></section>"
)
PART = "The rest of the video is not looked at, so the answer is there sooner."
AS_TRAINED, USUAL = "as the model was trained", "as usual"
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


def _choice(label: str, untouched: str, values: Sequence[float], unit: float = 1) -> gr.Dropdown:
    """A few numbers to choose from; 0, the usual one, is said in words."""
    choices = [(untouched, 0.0), *((f"{value:g}", value * unit) for value in values)]
    return gr.Dropdown(choices, value=0.0, label=label)


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
            space = os.environ.get("SPACE_ID")
            docs = f"https://huggingface.co/spaces/{space}/blob/main/docs/web.md"
            link = f'<a href="{escape(docs)}">Docs</a>' if space else ""
            gr.HTML(HEAD.format(link), elem_classes="stvg-slot")
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
        with gr.Accordion(
            "Only a part of it", open=False, visible=False, elem_id="stvg-part"
        ) as self.part:
            gr.HTML(markup.note(PART), elem_classes="stvg-slot")
            with gr.Row():
                # As far as the longest video goes; for a shorter one the page's script says less.
                last = math.ceil(10 * self.limits.max_seconds) / 10
                self.start = gr.Slider(0, last, value=0, step=0.1, label="From second", buttons=[])
                self.end = gr.Slider(0, last, value=last, step=0.1, label="To second", buttons=[])
        self.text = gr.Textbox(
            label="What to look for",
            info="One description a line. Shift+Enter asks.",
            placeholder="the dog jumping",
            lines=2,
            max_lines=8,
            elem_id="stvg-query",
        )
        with gr.Row(equal_height=True):
            self.find = gr.Button("Find it", variant="primary", scale=2, elem_id="stvg-find")
            self.track = gr.Button("Only number the objects", elem_id="stvg-track")
            self.stop = gr.Button("Stop", visible=False, elem_id="stvg-stop")
        if examples := bundled_examples():
            clips = [str(clip) for _, clip, _ in examples]
            # A stand-in takes the clip, because gradio would put a new widget without the guard of
            # `upload_only` in the place of one that an example fills.
            self.examples = gr.Examples(
                [[clip, query] for clip, (_, _, query) in zip(clips, examples, strict=True)],
                [gr.Video(visible=False), self.text],
                label="Examples to try",
                cache_examples=False,
                elem_id="stvg-examples",
                api_visibility="private",
            )
            self.examples.load_input_event.then(
                lambda chosen: clips[chosen[0]],
                self.examples.dataset,
                self.video,
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )
        gr.HTML(HISTORY, elem_classes="stvg-slot")
        with gr.Accordion("Settings", open=False, elem_id="stvg-settings"):
            self._settings()

    def _settings(self) -> None:
        names, device = self.registry.names, pick_device(self.registry.device)
        missing = {name: reach.why_no_tracker(name, device) for name in self.registry.trackers}
        no_masks = reach.why_no_masks(device)
        label = {name: TRACKER_LABELS.get(name, name) for name in missing}
        models = [(MODEL_LABELS.get(name, name), name) for name in names]
        self.model = gr.Dropdown(models, value=names[0], label="Model")
        self.trackers_here = {name for name, why in missing.items() if not why}
        here = [(label[name], name) for name in missing if name in self.trackers_here]
        self.tracker = gr.Dropdown(
            here, value="auto", label="What finds the objects", elem_id="stvg-tracker"
        )
        masks = "Outline the object with SAM 2 (masks)"
        self.masks = gr.Checkbox(label=masks, visible=not no_masks)
        self.numbers = {
            "max_objects": _choice(
                "Most objects to consider", AS_TRAINED, (1, 2, 3, 5, 10, 20, 50)
            ),
            "sample_fps": _choice("Frames a second that the model sees", AS_TRAINED, (1, 2, 4, 8)),
            "total_pixels": _choice(
                "Million pixels for all these frames", AS_TRAINED, (0.5, 1, 1.6, 2.8, 4), 1e6
            ),
            "detect_fps": _choice(
                "Frames a second that are searched for objects", USUAL, (5, 8, 10, 15, 30)
            ),
            "score_threshold": _choice(
                "Least certainty of an object", USUAL, (0.1, 0.2, 0.3, 0.5, 0.7)
            ),
        }
        absent = [
            *reach.absent_models(names),
            *(reach.Absent(label[name], why) for name, why in missing.items() if why),
            *([reach.Absent(masks, no_masks)] if no_masks else []),
        ]
        if absent:
            gr.HTML(markup.not_here(absent), elem_id="stvg-absent", elem_classes="stvg-slot")

        self.passes = gr.Radio(
            [("one", 1), ("more where known to help", "auto"), ("all", 2)],
            value=1,
            label="Looks at the video",
            info="one: as the model was trained; more can help, and take longer",
        )

    def _answer(self) -> None:
        small = self.registry.names[0] == BUNDLED
        caution = markup.caution(SMALL_MODEL) if small else ""
        self.status = gr.HTML(HOW.format(caution), elem_id="stvg-status", elem_classes="stvg-slot")
        keep = self.limits.keep_seconds
        self.seen = gr.State(None, time_to_live=keep)
        self.answers = gr.State([], time_to_live=keep)
        # Used by the page's script, so they are in the page and not to be seen.
        self.pick = gr.Button("pick", elem_id="stvg-pick", elem_classes="stvg-unseen")
        self.picked = gr.Textbox(label="picked", elem_classes="stvg-unseen")
        self.link = gr.Textbox(label="link", elem_classes="stvg-unseen")
        self.length = gr.Textbox(label="length", elem_classes="stvg-unseen")
        self.part_of = gr.Textbox(label="part of", elem_classes="stvg-unseen")
        self.visit = gr.Textbox(label="visit", elem_id="stvg-visit", elem_classes="stvg-unseen")
        with gr.Column(visible=False, elem_id="stvg-answer") as self.panel:
            self.shared = gr.HTML(elem_id="stvg-shared", elem_classes="stvg-slot")
            self.picker = gr.Radio([], label="Descriptions", visible=False, elem_id="stvg-picker")
            self.card = gr.HTML(elem_id="stvg-card", elem_classes="stvg-slot")
            self.again = gr.Button("", visible=False, elem_id="stvg-again")
            self.view = gr.Radio(
                [ANSWER, SEEN], value=ANSWER, show_label=False, container=False, elem_id="stvg-view"
            )
            self.shown = gr.Video(show_label=False, autoplay=True, elem_id="stvg-video")
            self.style = gr.CheckboxGroup(
                [(label, name) for name, label in STYLE_LABELS.items()],
                label="How the video is drawn, here and when it is downloaded",
                visible=False,
                elem_id="stvg-style",
            )
            self.timeline = gr.HTML(elem_id="stvg-timeline", elem_classes="stvg-slot")
            self.keyframes = gr.HTML(elem_id="stvg-keyframes", elem_classes="stvg-slot")
            self.objects = gr.HTML(elem_id="stvg-objects", elem_classes="stvg-slot")
            with gr.Accordion("Why: the model's reasoning", open=True) as self.why:
                self.reasoning = gr.HTML(elem_id="stvg-reasoning", elem_classes="stvg-slot")
            with gr.Accordion("Every box as a table", open=False) as self.boxes:
                self.table = gr.Dataframe(
                    headers=COLUMNS, interactive=False, max_height=320, elem_id="stvg-table"
                )
            with gr.Row():
                self.get_video = gr.DownloadButton("Video (mp4)", size="sm")
                self.get_json = gr.DownloadButton("Data (JSON)", size="sm", elem_id="stvg-json")
                self.get_masks = gr.DownloadButton("Masks (PNG)", size="sm", visible=False)
                self.get_sample = gr.DownloadButton(
                    "Training sample (zip)", size="sm", visible=False, elem_id="stvg-sample"
                )

    @property
    def settings(self) -> dict[str, Any]:
        """The widgets of `models.Settings`, by its fields."""
        return {
            "model": self.model,
            "tracker": self.tracker,
            "masks": self.masks,
            **self.numbers,
            "passes": self.passes,
            "start_seconds": self.start,
            "end_seconds": self.end,
        }
