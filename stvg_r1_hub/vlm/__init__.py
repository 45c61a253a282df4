"""Prompt and marked frames in, the model's text out.

A backend implements `VLM`. Encoding is separate from generating, so that several questions about
one clip pay for the vision tower once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from stvg_r1_hub.structures import MarkedFrames, Progress

OnText = Callable[[int, str], None]
"""`on_text(i, text)`, called once a prompt, its place among all and its text."""


class VLM(Protocol):
    """A video language model that answers prompts about one clip."""

    def encode(self, video: MarkedFrames) -> Any:
        """What `generate` needs of a clip, in whatever form the backend likes."""

    def generate(
        self,
        prompts: Sequence[str],
        video: Any,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """One text a prompt, special tokens removed.

        A text that is a `structures.Generated` says how sure the model was of the object in it.

        Args:
            prompts: complete user texts, as `prompting.build_prompt` makes them.
            video: what `encode` returned.
            max_new_tokens: length limit of each text.
            progress: called with the stage `"answer"` and the number of tokens so far.
            on_text: called with each text as soon as it is whole, in whatever order they end.
        """
