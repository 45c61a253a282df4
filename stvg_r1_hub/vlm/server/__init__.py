"""The same questions to a server that speaks OpenAI's protocol.

vLLM, SGLang, llama.cpp, Ollama, LM Studio and hosted models do. They differ in what they take, so
a clip goes out as `inputs` names it: the best of what the server is known to take, the next where
it refuses. Nothing of the video but these marked frames leaves this machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.structures import Frames, MarkedFrames, Progress
from stvg_r1_hub.vlm import OnText
from stvg_r1_hub.vlm.server.client import Client
from stvg_r1_hub.vlm.server.inputs import INPUTS, MOST_IMAGES, WAYS, SentClip, prepare
from stvg_r1_hub.vlm.server.probe import LOWEST_VLLM, Server, look, only_model
from stvg_r1_hub.vlm.server.refusals import (
    MODEL_VARIABLE,
    TOKEN_VARIABLE,
    NotTaken,
    Refusal,
    images_taken,
)

__all__ = ["INPUTS", "MODEL_VARIABLE", "TOKEN_VARIABLE", "Server", "ServerVLM"]

_PROMPTS_AT_ONCE = 8
_FEWEST_IMAGES = 4
_LETTERS_PER_TOKEN = 8
_AUTO = {"vllm": ("frames", "video", "images"), "sglang": ("video", "images")}
"""What `"auto"` tries, by what a server says it is; images alone for any other."""


@dataclass
class ServedClip:
    """A clip, and how it was sent once it was."""

    frames: Frames
    sent: SentClip | None = None

    @property
    def input(self) -> str:
        """What the server took, of `inputs.INPUTS`."""
        return self.sent.input if self.sent is not None else ""

    @property
    def frame_times(self) -> NDArray[np.float64] | None:
        """Seconds of the frames that were sent, where these are not all."""
        return self.sent.frame_times if self.sent is not None else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was sent otherwise than sampled."""
        return self.sent.warnings if self.sent is not None else ()


class ServerVLM:
    """A language model behind an address, given to `STVGPipeline` as its `vlm`."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        input: str = "auto",  # noqa: A002
        token: str | None = None,
        timeout_seconds: float = 300.0,
        attempts: int = 4,
    ) -> None:
        """Remember where to ask; nothing is sent yet.

        Args:
            url: base address, such as `"http://localhost:8000/v1"`.
            model: name of the model on the server; None asks it, and takes the one it serves.
            input: how the marked frames are sent: `"frames"` (vLLM from 0.31 on: exact, with
                every frame's own time), `"video"` (vLLM, SGLang and others that take one),
                `"images"` with times (any server with vision), or `"auto"`.
            token: sent as a bearer token. None sends that of `hf auth login`, but to the Hub's
                own hosts (Inference Endpoints) alone.
            timeout_seconds: for one answer.
            attempts: how often a question is sent when the server is busy or down, with a wait
                that doubles from half a second.

        Raises:
            ConfigError: no web address, or an unknown input.
        """
        if input not in INPUTS:
            raise ConfigError(f"Got the input {input!r}; it must be one of {', '.join(INPUTS)}.")
        self.url = url
        self.model = model
        self.input = input
        self._client = Client(url, token, timeout_seconds, attempts)
        self._server: Server | None = None
        self._most_images = MOST_IMAGES
        self._taken: str | None = None
        self._settling = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_settling": None}  # A lock cannot be copied.

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _settling=threading.Lock())

    @classmethod
    def from_environment(cls, url: str, *, input: str = "auto") -> ServerVLM:  # noqa: A002
        """As the command line asks a server: `TOKEN_VARIABLE` and `MODEL_VARIABLE` may be set."""
        model, token = (os.environ.get(name) or None for name in (MODEL_VARIABLE, TOKEN_VARIABLE))
        return cls(url, model=model, input=input, token=token)

    @property
    def server(self) -> Server:
        """What is asked, found out on first use."""
        if self._server is None:
            self._server = look(self._client)
        return self._server

    @property
    def served_model(self) -> str:
        """Name of the model there, asked for on first use; empty where the server has no list.

        Raises:
            ModelError: it serves several, and none was named.
        """
        if self.model is None:
            self.model = only_model(self.url, self.server)
        return self.model or ""

    @property
    def taken(self) -> str:
        """What the server took, of `inputs.INPUTS`; empty before the first answer."""
        return self._taken.split()[-1] if self._taken is not None else ""

    def encode(self, video: MarkedFrames) -> ServedClip:
        """Nothing is sent before the first question."""
        return ServedClip(video.frames)

    def generate(
        self,
        prompts: Sequence[str],
        video: ServedClip,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """Ask all prompts, several at a time; the first of a clip alone, to see what is taken.

        Raises:
            ModelError: the server is down, refuses, answers nonsense, or ignores the frames.
        """
        texts: dict[int, str] = {}

        def keep(i: int, text: str) -> None:
            texts[i] = text
            if progress is not None:
                progress("answer", len(texts), len(prompts))
            if on_text is not None:
                on_text(i, text)

        first = None
        with self._settling:
            if video.sent is None and prompts:
                first = self._ask_first(prompts[0], video, max_new_tokens)
        if first is not None:
            keep(0, first)
        sent = video.sent
        assert sent is not None or not prompts
        with ThreadPoolExecutor(_PROMPTS_AT_ONCE) as pool:
            asked = {
                pool.submit(self._ask, prompt, sent, max_new_tokens): i
                for i, prompt in enumerate(prompts)
                if i not in texts and sent is not None
            }
            try:
                for answer in as_completed(asked):
                    keep(asked[answer], answer.result())
            except BaseException:
                for answer in asked:
                    answer.cancel()
                raise
        return [texts[i] for i in range(len(prompts))]

    def _ask_first(self, prompt: str, video: ServedClip, max_new_tokens: int) -> str:
        """The first answer about a clip, sent in the first way that the server takes."""
        model = self.served_model
        refused: NotTaken | None = None
        for way in self._ways():
            is_next = False
            while not is_next:
                sent = prepare(way, video.frames, model=model, most_images=self._most_images)
                try:
                    text = self._ask(prompt, sent, max_new_tokens)
                except NotTaken as error:
                    if isinstance(error, Refusal) and error.status in (401, 403, 404):
                        raise  # Of another kind of frames nothing would change.
                    refused = error
                    is_next = not (sent.input == "images" and self._fewer_images(error, sent))
                else:
                    video.sent, self._taken = sent, way
                    return text
        assert refused is not None
        raise refused

    def _ways(self) -> tuple[str, ...]:
        """What is tried, in this order; see `inputs.WAYS`."""
        if self._taken is not None:
            return (self._taken,)
        if self.input == "frames" and not self.server.tells_frame_times:
            raise ModelError(
                f"The server {self.url} runs vLLM {self.server.version}, and frames need "
                f"{'.'.join(map(str, LOWEST_VLLM))} or later, because it drops their times before; "
                "upgrade it, or send images."
            )
        if self.input != "auto":
            return WAYS[self.input]
        names = _AUTO.get(self.server.software, ("images",))
        if not self.server.tells_frame_times:
            names = ("images",)
        return tuple(way for name in names for way in WAYS[name])

    def _fewer_images(self, error: NotTaken, sent: SentClip) -> bool:
        """Whether fewer images can be sent after this refusal; they are from now on."""
        allowed = images_taken(error) if isinstance(error, Refusal) else None
        if allowed is None:
            return False
        fewer = allowed or sent.n_frames // 2
        if not _FEWEST_IMAGES <= fewer < sent.n_frames:
            return False
        self._most_images = fewer
        return True

    def _ask(self, prompt: str, sent: SentClip, max_new_tokens: int) -> str:
        content = [{"type": "text", "text": str(prompt)}, *sent.parts]
        body = {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_new_tokens,
            "temperature": 0.0,
            **({"model": self.model} if self.model else {}),
            **sent.fields,
        }
        answer = self._client.chat(body)
        try:
            message = answer["choices"][0]["message"]
            text = message["content"]
            thought = message.get("reasoning_content")
            used = (answer.get("usage") or {}).get("prompt_tokens")
        except (LookupError, TypeError, AttributeError) as error:
            raise self._client.nonsense(repr(answer)) from error
        if isinstance(thought, str) and thought:  # Some servers part it from the answer.
            text = f"<think>{thought}</think>{text or ''}"
        if not isinstance(text, str):
            raise self._client.nonsense(repr(answer))
        least = sent.least_tokens + len(prompt) // _LETTERS_PER_TOKEN
        if isinstance(used, int) and used < least:
            raise NotTaken(
                f"The server {self.url} read {used} tokens of a question that has at least "
                f"{least}: it cuts long questions (give it a larger context: llama.cpp --ctx-size, "
                "Ollama num_ctx), or its model has no eyes (serve one with vision, such as a "
                "Qwen2.5-VL)."
            )
        return text
