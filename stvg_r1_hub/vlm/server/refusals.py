"""Why a server does not take a question, in one sentence that says what to do."""

from __future__ import annotations

import re
from typing import Any

from stvg_r1_hub.errors import ModelError

TOKEN_VARIABLE, MODEL_VARIABLE = "STVG_SERVER_TOKEN", "STVG_SERVER_MODEL"
"""Environment variables with which the command line gives a server's key and model."""
_MOST_SAID = 300
"""Characters of the server's own words that are repeated."""
_NO_VISION = (
    "images? (?:input )?(?:is|are) not supported|not support (?:image|vision|video)|mmproj|"
    "not a multi-?modal|no vision|(?:text|string)[- ]only|must be a string|expected a string|"
    "(?:unknown|unsupported|invalid)[^.]{0,30}(?:image_url|video_url)"
)
_TOO_LONG = (
    "context (?:length|size|window)|max_model_len|exceeds?[^.]{0,40}context|prompt is too long"
)
_MOST = r"(?:at most|up to|max\w*|limit\w*|more than|exceeds?)\D{0,40}?(\d{1,3})\b"
_TOO_LARGE = (
    "(?:image|frame|picture|payload|request|body|resolution)[^.]{0,60}"
    "(?:too (?:large|big)|exceeds|larger than)|entity too large"
)
_ADVICE = (
    (_NO_VISION, "serve a model with vision, such as a Qwen2.5-VL or Qwen3-VL one (llama.cpp "
     "needs its --mmproj file too)"),
    (_TOO_LONG, "give the server a larger context (vLLM --max-model-len, llama.cpp --ctx-size, "
     "Ollama num_ctx), or set a smaller max_frames in stvg_config.json"),
    (_TOO_LARGE, "set a smaller max_pixels in stvg_config.json, or let the server take more"),
)  # fmt: skip


class NotTaken(ModelError):
    """A question that the server cannot answer as it was sent; perhaps it can otherwise."""


class Refusal(NotTaken):
    """The server says so.

    Attributes:
        status: of HTTP.
        reason: the server's own words.
    """

    def __init__(self, url: str, status: int, reason: str, advice: str = "") -> None:
        """Put the server's words and what to do into one sentence."""
        self.status, self.reason = status, reason
        super().__init__(
            f"The server {url} refused the question (HTTP {status}): {reason or 'no reason given'}"
            f"{advice and f'; {advice}'}"
        )


def refusal_of(answer: Any, url: str, body: dict[str, Any]) -> Refusal:
    """An answer of status 400 or above to a request, in words, with what to do about it."""
    status, reason = answer.status_code, _said(answer)
    fields = [name for name in ("media_io_kwargs", "mm_processor_kwargs") if name in body]
    advice = ""
    if status in (401, 403):
        advice = f"give its key as token, or in {TOKEN_VARIABLE}"
    elif any(name in reason for name in fields):
        advice = (
            f"it does not know {' and '.join(fields)}, which tell it to take the frames as they "
            "are: serve the model with vLLM or SGLang, or send images"
        )
    elif status == 413:
        advice = _ADVICE[-1][1]
    else:
        found = (text for words, text in _ADVICE if re.search(words, reason, re.IGNORECASE))
        advice = next(found, "")
    return Refusal(url, status, reason, advice)


def images_taken(refusal: Refusal) -> int | None:
    """How many images a server takes when it refuses their number; 0 when it does not say.

    Returns:
        None where it refuses for another reason.
    """
    if re.search(_TOO_LONG, refusal.reason, re.IGNORECASE):
        return 0
    named = re.search(_MOST, refusal.reason, re.IGNORECASE)
    about_images = "image" in refusal.reason.lower()
    return int(named[1]) if named is not None and about_images else None


def _said(answer: Any) -> str:
    """The server's own words about a refusal, on one line."""
    try:
        values = answer.json()
    except ValueError:
        values = answer.text
    for name in ("error", "message", "detail"):
        if isinstance(values, dict) and values.get(name):
            values = values[name]
    return " ".join(str(values).split())[:_MOST_SAID]
