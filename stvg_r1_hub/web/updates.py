"""What an event yields reaches the page whole."""

from __future__ import annotations

from typing import Any

import gradio as gr


def send_whole(blocks: gr.Blocks) -> None:
    """Let each update of a widget replace the last one instead of editing it.

    gradio 6.31 sends what differs from the last update, and its page applies that to the last
    update itself, which may still wait to be shown: on a slow machine an answer that is followed
    at once by the next update is edited away before anybody has seen it. An update that replaces
    the whole leaves the one before it alone.

    Args:
        blocks: the page.
    """
    differing = blocks.handle_streaming_diffs

    def whole(block_fn: Any, data: list[Any], *, final: bool, **more: Any) -> list[Any]:
        new = list(data)
        sent = differing(block_fn, data, final=final, **more)
        if final:
            return sent
        # The first update of an event is sent as it is, of the others a list of edits.
        return [
            [["replace", [], value]] if edits and edits is not value else edits
            for edits, value in zip(sent, new, strict=True)
        ]

    vars(blocks)["handle_streaming_diffs"] = whole
