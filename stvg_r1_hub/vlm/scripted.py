"""A language model that says what it is told to: for tests, and to study the other stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stvg_r1_hub.structures import MarkedFrames, Progress
from stvg_r1_hub.vlm import OnText


class ScriptedVLM:
    """Answers from a list, in order and again from its start, or by a function of the prompt.

    Attributes:
        prompts: every prompt that was asked, in order.
        videos: every clip that was encoded.
    """

    def __init__(self, answers: Sequence[str] | Callable[[str], str]) -> None:
        """Take the texts to say, or a function from prompt to text."""
        if not callable(answers) and not answers:
            raise ValueError("ScriptedVLM needs at least one answer, got an empty list")
        self._answers = answers
        self.prompts: list[str] = []
        self.videos: list[MarkedFrames] = []

    def encode(self, video: MarkedFrames) -> MarkedFrames:
        """Remember the clip."""
        self.videos.append(video)
        return video

    def generate(
        self,
        prompts: Sequence[str],
        video: MarkedFrames,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """The scripted texts, cut to `max_new_tokens` words."""
        texts: list[str] = []
        for i, prompt in enumerate(prompts):
            if callable(self._answers):
                text = self._answers(prompt)
            else:
                text = self._answers[len(self.prompts) % len(self._answers)]
            self.prompts.append(prompt)
            if len(words := text.split(" ")) > max_new_tokens:
                text = " ".join(words[:max_new_tokens])
            texts.append(text)
            if progress is not None:
                progress("answer", len(texts), len(prompts))
            if on_text is not None:
                on_text(i, text)
        return texts
