"""ZeroGPU, a GPU that is lent to a Space for the seconds of one call; the language model there.

Only what needs a GPU crosses to its process: the language model here, tracking and masks in
`zerogpu_tracking`. Reading, drawing and encoding stay outside. What crosses lies on the CPU:
frames at the model's own size go in, texts come out. Off ZeroGPU the decorator does nothing and
the same code runs in place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stvg_r1_hub.errors import ModelError, STVGError
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.structures import MarkedFrames, Progress
from stvg_r1_hub.vlm import OnText
from stvg_r1_hub.vlm.resizing import model_frames
from stvg_r1_hub.web.jobs import Step, in_background

try:
    import spaces
except ImportError:  # A laptop does without it.
    spaces = None

START_SECONDS = 6.0
"""To move the weights to the GPU."""
SECONDS_PER_VISUAL_TOKEN = 0.0008
SECONDS_PER_ANSWER_TOKEN = 0.035
ANSWER_TOKENS = 220
ANSWER_TOKENS_PER_OBJECT = 15
"""First guesses for a 7B model; `Cost` corrects them by what the calls really took."""
LONGEST_SECONDS = 120


@dataclass
class Cost:
    """How the seconds really taken compare to those that were guessed."""

    ratio: float = 1.0

    def learn(self, guessed: float, taken: float) -> None:
        """Move towards the last call: fast when calls take longer, slowly when shorter."""
        weight = 0.5 if taken > guessed * self.ratio else 0.1
        seen = min(4.0, max(0.25, taken / max(guessed, 1e-6)))
        self.ratio += weight * (seen - self.ratio)


_COST = Cost()
_PIPELINES: dict[str, STVGPipeline] = {}
"""Models that the GPU process finds by name: it is forked from this one."""


def is_zero_gpu() -> bool:
    """Whether this process runs on a ZeroGPU Space."""
    if spaces is None:
        return False
    from spaces.config import Config

    return bool(Config.zero_gpu)


def guessed_seconds(prompts: Sequence[str], video: MarkedFrames, max_new_tokens: int) -> float:
    """GPU seconds before anything was learned: by the clip's tokens, its objects and prompts."""
    frames = video.frames
    visual = len(frames) / 2 * (frames.model_height // 28) * (frames.model_width // 28)
    objects = len(video.visible_ids)
    answer = min(max_new_tokens, ANSWER_TOKENS + ANSWER_TOKENS_PER_OBJECT * objects)
    batches = -(-len(prompts) // 8)
    return visual * SECONDS_PER_VISUAL_TOKEN * batches + answer * SECONDS_PER_ANSWER_TOKEN * batches


def to_ask_for(seconds: float) -> int:
    """Work and start. Small, because a visitor's quota must cover what is asked for."""
    return min(LONGEST_SECONDS, max(10, round(START_SECONDS + seconds)))


def gpu_seconds(name: str, prompts: Sequence[str], video: MarkedFrames, max_new_tokens: int) -> int:
    """Seconds to ask for."""
    return to_ask_for(1.5 * guessed_seconds(prompts, video, max_new_tokens) * _COST.ratio)


def on_gpu(seconds: Callable[..., int]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: each call of the generator function is lent a GPU for so many seconds."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if spaces is None:
            return function
        decorated: Callable[..., Any] = spaces.GPU(duration=seconds)(function)
        return decorated

    return decorate


@dataclass(frozen=True)
class Finished:
    """The end of a call on the GPU."""

    value: Any
    seconds: float


def collect(work: Callable[[Progress, Callable[[Any], None]], Any]) -> Generator[Any, None, None]:
    """What a call on the GPU yields: steps, what is given on the way, and at the end its value."""
    started = time.perf_counter()
    value = yield from in_background(work)
    yield Finished(value, time.perf_counter() - started)


def run(
    call: Any,
    progress: Progress | None,
    cost: Callable[[float], None] | None = None,
    take: Callable[[Any], None] = lambda part: None,
) -> Any:
    """Iterate a call on the GPU: report its steps, return its value; closing stops it there.

    Args:
        call: what a function that is `on_gpu` returns.
        progress: called with its steps.
        cost: called with the seconds that it took.
        take: called with what is given on the way, while the call goes on.

    Raises:
        ModelError: no GPU can be had, said in one sentence.
    """
    try:
        for step in call:
            if isinstance(step, Finished):
                if cost is not None:
                    cost(step.seconds)
                return step.value
            if not isinstance(step, Step):
                take(step)
            elif progress is not None:
                progress(step.stage, step.done, step.total)
    except STVGError:
        raise
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise ModelError(sentence) from error
    finally:
        call.close()
    raise ModelError("The GPU gave no answer; try again.")


def pipeline_of(name: str) -> STVGPipeline:
    """A registered model, also in the GPU process."""
    return _PIPELINES[name]


def register(name: str, pipeline: STVGPipeline) -> None:
    """Make a model known by name, before the GPU process is forked."""
    _PIPELINES[name] = pipeline


@on_gpu(gpu_seconds)
def _answer_on_gpu(
    name: str, prompts: Sequence[str], video: MarkedFrames, max_new_tokens: int
) -> Generator[Any, None, None]:
    vlm = pipeline_of(name).vlm

    def work(progress: Progress, give: Callable[[Any], None]) -> list[str]:
        return vlm.generate(
            prompts,
            vlm.encode(video),
            max_new_tokens=max_new_tokens,
            progress=progress,
            on_text=lambda i, text: give((i, text)),
        )

    yield from collect(work)


class ZeroGPUVLM:
    """A language model whose every question is one call on ZeroGPU."""

    def __init__(self, name: str) -> None:
        """Use the model that is registered under a name."""
        self.name = name

    def encode(self, video: MarkedFrames) -> MarkedFrames:
        """The frames at the model's own size, so that little crosses to the other process."""
        frames = video.frames
        return replace(video, frames=replace(frames, pixels=model_frames(frames)))

    def generate(
        self,
        prompts: Sequence[str],
        video: MarkedFrames,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """Ask on the GPU.

        Raises:
            ModelError: no GPU can be had, said in one sentence.
        """
        call = _answer_on_gpu(self.name, list(prompts), video, max_new_tokens)
        guessed = guessed_seconds(prompts, video, max_new_tokens)
        texts: list[str] = run(
            call,
            progress,
            lambda taken: _COST.learn(guessed, taken),
            lambda part: None if on_text is None else on_text(*part),
        )
        return texts


def explain(error: Exception) -> str | None:
    """One sentence for what ZeroGPU refuses; None for any other error."""
    title = str(getattr(error, "title", ""))
    if not title.startswith("ZeroGPU"):
        return None
    message = re.sub(r"<[^>]*>", "", str(getattr(error, "message", error)))
    if "illegal duration" in title:
        return (
            "This question needs more GPU time than your account may ask for at once: use a "
            "shorter clip or fewer descriptions, or log in to Hugging Face."
        )
    if "quota" in title or "credits" in title:
        wait = re.search(r"Try again in ([\d:, a-z]+)", message)
        when = f" in {wait[1].strip()}" if wait else " later"
        return (
            f"Your free GPU time for today is used up: try again{when}, log in to Hugging Face "
            "for more, or run this page on your own computer with: stvg app"
        )
    if "queue timeout" in title:
        return "All GPUs are busy right now: try again in a minute."
    return f"The GPU stopped before the answer was ready ({message}): try again, or a shorter clip."
