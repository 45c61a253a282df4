"""A server on this machine that speaks OpenAI's protocol, and what such a server sees of a clip."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import av
import numpy as np
from PIL import Image

from stvg_r1_hub.structures import Frames, MarkedFrames
from stvg_r1_hub.vlm import VLM

ANSWER = "<think>2</think><answer>Target ID: 2, Time range: 0.50 to 1.50</answer>"
Reply = Callable[[dict[str, Any]], tuple[int, Any]]
"""A request's body -> status and body of the answer; bytes go out as they are."""


def answered(text: Any = ANSWER, used: int | None = 50_000) -> tuple[int, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": used, "completion_tokens": 9, "total_tokens": 0}
    return 200, {"id": "1", "choices": [choice], **({"usage": usage} if used is not None else {})}


@dataclass
class StandIn:
    """Where it listens, and what it was sent."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    """The Authorization header of every request."""
    looked_at: list[str] = field(default_factory=list)
    """Paths that were only looked at."""


@contextmanager
def serving(
    reply: Reply,
    *,
    models: tuple[str, ...] | None = None,
    owner: str = "",
    version: str | None = None,
    content_type: str = "application/json",
) -> Iterator[StandIn]:
    """A server that answers as `reply` says.

    Like vLLM, one that lists what it serves answers to these names alone.

    Args:
        reply: called with the body of every question; also with its path, as `"path"`.
        models: listed by name; None has no list.
        owner: of the models.
        version: said as vLLM says it.
        content_type: of every answer.
    """
    seen = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.keys.append(self.headers.get("Authorization"))
            body["path"] = self.path
            seen.bodies.append(body)
            asked = self.path.endswith("/chat/completions")
            if asked and models is not None and body.get("model") not in models:
                self.send(404, {"error": f"The model {body.get('model')} does not exist."})
            else:
                self.send(*reply(body))

        def do_GET(self) -> None:
            seen.keys.append(self.headers.get("Authorization"))
            seen.looked_at.append(self.path)
            if models is not None and self.path == "/v1/models":
                listed = [{"id": name, "owned_by": owner} for name in models]
                self.send(200, {"object": "list", "data": listed})
            elif version is not None and self.path == "/version":
                self.send(200, {"version": version})
            else:
                self.send(404, {"detail": "Not Found"})

        def send(self, status: int, answer: Any) -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Seen:
    """A question as the server's model gets it."""

    text: str
    pixels: np.ndarray
    """`(T, H, W, 3)` uint8 RGB."""
    times: np.ndarray
    """`(T,)` seconds."""
    sample_fps: float | None = None
    """What scales the model's time; None for images."""


def seen_in(body: dict[str, Any]) -> Seen:
    """What a request shows: as vLLM reads a video and a list of frames, others the images."""
    question, *parts = body["messages"][0]["content"]
    assert question["type"] == "text", "the text comes before the video, as in training"
    if parts[0]["type"] == "video_url":
        head, data = parts[0]["video_url"]["url"].split(",", 1)
        told = body["media_io_kwargs"]["video"]
        if head == "data:video/jpeg;base64":
            pixels = np.stack([_picture(one) for one in data.split(",")])
            assert len(told["frames_indices"]) == len(pixels) <= told["total_num_frames"]
            rate = len(pixels) / told["total_num_frames"] * told["fps"]
            times = np.array(told["frames_indices"]) / told["fps"]
            return Seen(question["text"], pixels, times, rate)
        with av.open(io.BytesIO(base64.b64decode(data))) as container:
            rate = float(container.streams.video[0].average_rate or 0)
            pixels = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        return Seen(question["text"], pixels, np.arange(len(pixels)) / rate, rate)
    times = [float(re.findall(r"[\d.]+", part["text"])[0]) for part in parts[::2]]
    urls = [part["image_url"]["url"] for part in parts[1::2]]
    pixels = np.stack([_picture(url.removeprefix("data:image/jpeg;base64,")) for url in urls])
    return Seen(question["text"], pixels, np.array(times))


def answering(vlm: VLM) -> Reply:
    """A server that asks a model here, about the pixels and times that a server gets."""

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        seen = seen_in(body)
        rate = seen.sample_fps or 1 / float(np.diff(seen.times).mean())
        n, height, width = seen.pixels.shape[:3]
        frames = Frames(seen.pixels, np.arange(n), seen.times, rate, height, width)
        encoded = vlm.encode(MarkedFrames(frames, (frozenset[int](),) * n))
        (text,) = vlm.generate([seen.text], encoded, max_new_tokens=body["max_tokens"])
        return answered(text)

    return reply


def _picture(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
