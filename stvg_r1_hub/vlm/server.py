"""The same questions to a server that speaks OpenAI's protocol and takes video.

vLLM, SGLang and Inference Endpoints do. The marked sample is sent as a small mp4 whose frame rate
is the sample's, at the size the checkpoint was trained with, and the server is asked to take it
as it is. Nothing of the video but these marked frames leaves this machine.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urlparse

from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.structures import Frames, MarkedFrames, Progress
from stvg_r1_hub.vlm.resizing import model_frames

_PROMPTS_AT_ONCE = 8
_FIRST_WAIT_SECONDS = 0.5
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_PIXELS_PER_TOKEN = 28 * 28 * 2
_NO_TOKEN = "EMPTY"
"""What servers without a key are usually sent, instead of somebody's token for the Hub."""
_HUB_HOSTS = ("huggingface.co", "hf.co", "huggingface.cloud")
TOKEN_VARIABLE, MODEL_VARIABLE = "STVG_SERVER_TOKEN", "STVG_SERVER_MODEL"
"""Environment variables with which the command line gives a server's key and model."""


@dataclass(frozen=True)
class SentVideo:
    """A clip as it goes to the server."""

    url: str
    """`data:video/mp4;base64,...`."""
    sample_fps: float
    n_tokens: int
    """Video tokens that a Qwen2.5-VL model makes of it."""


class ServerVLM:
    """A language model behind an address, given to `STVGPipeline` as its `vlm`."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 300.0,
        attempts: int = 4,
    ) -> None:
        """Remember where to ask; nothing is sent yet.

        Args:
            url: base address, such as `"http://localhost:8000/v1"`.
            model: name of the model on the server; None asks it, and takes the one it serves.
            token: sent as a bearer token. None sends that of `hf auth login`, but to the Hub's
                own hosts (Inference Endpoints) alone.
            timeout_seconds: for one answer.
            attempts: how often a question is sent when the server is busy or down, with a wait
                that doubles from half a second.

        Raises:
            ConfigError: no web address.
        """
        if urlparse(url).scheme not in ("http", "https") or not urlparse(url).hostname:
            raise ConfigError(
                f"Got the server address {url!r}; it must be like 'http://localhost:8000/v1'."
            )
        self.url = url
        self.model = model
        self._token = token
        self._naming = threading.Lock()
        self._knows_name = False
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts

    @classmethod
    def from_environment(cls, url: str) -> ServerVLM:
        """As the command line asks a server: `TOKEN_VARIABLE` and `MODEL_VARIABLE` may be set."""
        model, token = (os.environ.get(name) or None for name in (MODEL_VARIABLE, TOKEN_VARIABLE))
        return cls(url, model=model, token=token)

    def encode(self, video: MarkedFrames) -> SentVideo:
        """The marked frames as an mp4 for all questions."""
        frames = video.frames
        data = base64.b64encode(_mp4(frames)).decode("ascii")
        pixels = len(frames) * frames.model_height * frames.model_width
        url = f"data:video/mp4;base64,{data}"
        return SentVideo(url, frames.sample_fps, pixels // _PIXELS_PER_TOKEN)

    def generate(
        self,
        prompts: Sequence[str],
        video: SentVideo,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
    ) -> list[str]:
        """Ask all prompts, several at a time.

        Raises:
            ModelError: the server is down, refuses, answers nonsense, or ignores the video.
        """
        texts = []
        with ThreadPoolExecutor(_PROMPTS_AT_ONCE) as pool:
            asked = [pool.submit(self._ask, prompt, video, max_new_tokens) for prompt in prompts]
            try:
                for answer in asked:
                    texts.append(answer.result())
                    if progress is not None:
                        progress("answer", len(texts), len(prompts))
            except BaseException:
                for answer in asked:
                    answer.cancel()
                raise
        return texts

    def _ask(self, prompt: str, video: SentVideo, max_new_tokens: int) -> str:
        for attempt in range(1, self._attempts + 1):
            try:
                return self._text(self._send(prompt, video, max_new_tokens), video)
            except _Busy as error:
                if attempt == self._attempts:
                    raise ModelError(
                        f"The server {self.url} did not answer in {attempt} attempts ({error}); "
                        "start it, or try again later."
                    ) from error.__cause__
                time.sleep(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _send(self, prompt: str, video: SentVideo, max_new_tokens: int) -> Any:
        from huggingface_hub import InferenceClient
        from huggingface_hub.errors import (
            HfHubHTTPError,
            InferenceTimeoutError,
            OfflineModeIsEnabled,
        )

        client = InferenceClient(
            base_url=self.url, api_key=self._key(), timeout=self._timeout_seconds
        )
        content = [
            {"type": "text", "text": prompt},
            {"type": "video_url", "video_url": {"url": video.url}},
        ]
        # vLLM would sample 32 frames again, assume another rate and resize.
        as_it_is = {
            "media_io_kwargs": {"video": {"num_frames": -1}},
            "mm_processor_kwargs": {
                "fps": video.sample_fps,
                "do_sample_frames": False,
                "do_resize": False,
            },
        }
        try:
            with self._naming:  # Questions go out side by side; the first one asks for all.
                if self.model is None and not self._knows_name:
                    self.model = self._served_model()
                    self._knows_name = True
            return client.chat_completion(
                [{"role": "user", "content": content}],
                model=self.model,
                max_tokens=max_new_tokens,
                temperature=0.0,
                extra_body=as_it_is,
            )
        except InferenceTimeoutError as error:
            raise _Busy(f"no answer in {self._timeout_seconds:g} s") from error
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", 0)
            reason = _said(error)
            if status in _TRY_AGAIN:
                raise _Busy(f"HTTP {status}") from error
            if any(field in reason for field in as_it_is):
                reason = (
                    f"it does not know {' and '.join(as_it_is)}, which tell it to take the frames "
                    f"as they are; serve the model with vLLM or SGLang ({reason})"
                )
            if status in (401, 403):
                reason = f"give its key as token, or in {TOKEN_VARIABLE} ({reason})"
            raise ModelError(
                f"The server {self.url} refused the question (HTTP {status}): {reason}"
            ) from error
        except OfflineModeIsEnabled as error:
            raise ModelError(
                f"The server {self.url} was not asked: HF_HUB_OFFLINE keeps the client from every "
                "address; unset it."
            ) from error
        except _transport_errors() as error:
            raise _Busy(" ".join(str(error).split()) or type(error).__name__) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(self._nonsense(str(error))) from error

    def _key(self) -> str | None:
        """What is sent as bearer token; None makes the client take the one for the Hub."""
        host = urlparse(self.url)
        of_hub = host.scheme == "https" and any(
            f".{host.hostname}".endswith(f".{name}") for name in _HUB_HOSTS
        )
        return self._token or (None if of_hub else _NO_TOKEN)

    def _served_model(self) -> str | None:
        """The name that the server gives its model; None when it does not say.

        vLLM and SGLang answer to that name alone.

        Raises:
            ModelError: it serves several.
        """
        from huggingface_hub import get_session, get_token

        key = self._key() or get_token()
        answer = get_session().get(
            f"{_base(self.url)}/models",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._timeout_seconds,
        )
        if answer.status_code in _TRY_AGAIN:
            raise _Busy(f"HTTP {answer.status_code}")
        try:
            names = [entry["id"] for entry in answer.json()["data"]]
        except (ValueError, TypeError, KeyError):
            return None
        if len(names) > 1:
            raise ModelError(
                f"The server {self.url} serves {', '.join(map(str, names))}; name one as model, or "
                f"in {MODEL_VARIABLE}."
            )
        return str(names[0]) if names else None

    def _text(self, answer: Any, video: SentVideo) -> str:
        try:
            text = answer.choices[0].message.content
            used = answer.usage.prompt_tokens if answer.usage is not None else None
        except (AttributeError, IndexError, TypeError) as error:
            raise ModelError(self._nonsense(repr(answer))) from error
        if not isinstance(text, str):
            raise ModelError(self._nonsense(repr(answer)))
        if isinstance(used, int) and used < video.n_tokens // 2:
            raise ModelError(
                f"The server {self.url} ignored the video: it read {used} tokens where the video "
                f"alone has about {video.n_tokens}; serve a model that takes video, such as a "
                "Qwen2.5-VL one."
            )
        return text

    def _nonsense(self, what: str) -> str:
        shown = " ".join(what.split())[:120]
        return (
            f"The server {self.url} does not speak OpenAI's chat protocol (got {shown}); "
            "give the base address of one that does, usually ending in /v1."
        )


def _said(error: Any) -> str:
    """The server's own words about a refusal, on one line."""
    answered = getattr(error, "server_message", None) or getattr(error.response, "text", "")
    return " ".join(str(answered or error).split())[:300]


def _base(url: str) -> str:
    """The address that ends in /v1, of any that the client takes."""
    base = url.split("?")[0].rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client's HTTP library raises when nobody answers; it has two names by version."""
    loaded = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return tuple(module.TransportError for module in loaded)


class _Busy(Exception):
    """The question may be sent again."""


def _mp4(frames: Frames) -> bytes:
    """The frames at the model's size as H.264, nearly lossless, at the sample's frame rate."""
    import av

    rate = Fraction(frames.sample_fps).limit_denominator(100_000)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=rate)
        stream.width, stream.height = frames.model_width, frames.model_height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10", "preset": "fast"}
        for picture in model_frames(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()
