"""Named endpoints for programs: `gradio_client`, curl, and MCP."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import gradio as gr

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.web.jobs import in_background
from stvg_r1_hub.web.layout import upload_only
from stvg_r1_hub.web.limits import split_queries
from stvg_r1_hub.web.models import Settings
from stvg_r1_hub.web.page import CRASHED, Page

_LOG = logging.getLogger(__name__)


def add_endpoints(page: Page, *, fetch: bool = False) -> None:
    """Add `/ground` and `/choices` to a page, as events of widgets that nobody sees.

    Args:
        page: where to.
        fetch: also take the address of a video, which is all that an MCP client can give.
    """
    registry = page.grounder.registry
    with page.blocks, gr.Row(visible=False):
        video = upload_only(gr.Video(label="video"), fetch=fetch)
        queries = gr.Textbox(label="queries", lines=2)
        model = gr.Dropdown(list(registry.names), value=registry.names[0], label="model")
        tracker = gr.Dropdown(list(registry.trackers), value="auto", label="tracker")
        masks = gr.Checkbox(label="masks")
        max_objects = gr.Number(0, precision=0, minimum=0, label="max_objects")
        start = gr.Number(0, minimum=0, label="start_seconds")
        end = gr.Number(None, minimum=0, label="end_seconds")
        results = gr.JSON(label="results")
        videos = gr.File(file_count="multiple", label="overlay videos")
        gr.Button().click(
            _endpoint(page),
            [video, queries, model, tracker, masks, max_objects, start, end],
            [results, videos],
            api_name="ground",
            concurrency_limit=None,  # Programs wait in the same line as people.
        )
        gr.Button().click(
            lambda: {"models": list(registry.names), "trackers": list(registry.trackers)},
            None,
            results,
            api_name="choices",
            api_description="The models and trackers that this page offers.",
            queue=False,
        )


def _endpoint(page: Page) -> Any:
    def ground(
        video: str,
        queries: str,
        model: str,
        tracker: str = "auto",
        masks: bool = False,
        max_objects: int = 0,
        start_seconds: float = 0,
        end_seconds: float | None = None,
    ) -> Generator[tuple[Any, Any], None, None]:
        """Find where and when in a video is what each description says.

        Args:
            video: the video file
            queries: what to look for, one description a line
            model: one of the models that /choices names
            tracker: one of the trackers that /choices names
            masks: also give COCO run-length masks
            max_objects: consider only so many objects; 0 for all
            start_seconds: look at nothing before this moment
            end_seconds: look at nothing after this moment; empty for the video's end

        Returns:
            One JSON object a description (query, video, part, model, tracker, found, object_ids,
            objects, start_seconds, end_seconds, ranges, confidence, alternatives, boxes,
            reasoning, notes, warnings), and one video with the answer drawn for every description
            that was found. The warnings are a list of sentences: all that the page says too.
        """
        settings = Settings(
            model=model,
            tracker=tracker,
            masks=masks,
            max_objects=int(max_objects or 0) or None,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
        )
        try:
            asked = split_queries(queries, page.grounder.limits)
            ground = page.grounder.ground
            steps = in_background(lambda progress, give: ground(video, asked, settings, progress))
            # Silent steps, so that a client that has gone away is noticed. Empty ones, not
            # `gr.skip()`: a value after a skip makes gradio 6.31 keep widget and value for as long
            # as it remembers the visit, those of every answer.
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    answers = end.value
                    break
                yield None, None
        except STVGError as error:
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from None
        except gr.Error:
            raise
        except Exception:
            _LOG.exception("A question failed.")
            raise gr.Error(CRASHED, print_exception=False) from None
        yield [a.values for a in answers], [str(a.overlay) for a in answers if a.overlay]

    return ground
