"""The server backend against a small server on this machine that speaks the protocol."""

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import av
import numpy as np
import pytest
from huggingface_hub import constants

from stvg_r1_hub import STVGConfig, STVGPipeline
from stvg_r1_hub.errors import Cancelled, ConfigError, ModelError
from stvg_r1_hub.structures import MarkedFrames
from stvg_r1_hub.vlm import server as server_module
from stvg_r1_hub.vlm.server import ServerVLM
from tests.builders import make_frames, marked

ANSWER = "<think>2</think><answer>Target ID: 2, Time range: 0.50 to 1.50</answer>"
Reply = Callable[[int, dict[str, Any]], tuple[int, Any]]
"""Number of the request from 0, and its body -> status and body of the answer."""


def answered(text: Any = ANSWER, used: int | None = 5000) -> tuple[int, Any]:
    usage = {"prompt_tokens": used, "completion_tokens": 9, "total_tokens": 0}
    return 200, {
        "id": "1",
        "created": 1,
        "model": "m",
        "object": "chat.completion",
        "system_fingerprint": "",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        **({"usage": usage} if used is not None else {}),
    }


@contextmanager
def serving(
    reply: Reply, served: tuple[str, ...] | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server, and the bodies that were sent to it.

    Like vLLM, one that lists what it serves answers to these names alone.
    """
    bodies: list[dict[str, Any]] = []
    tokens: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body["path"], body["bearer"] = self.path, self.headers.get("Authorization")
            bodies.append(body)
            if served is not None and body["model"] not in served:
                self.send(404, {"error": f"The model {body['model']} does not exist."})
            else:
                self.send(*reply(len(bodies) - 1, body))

        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization"))
            if served is None or self.path != "/v1/models":
                self.send(404, {"detail": "Not Found"})
            else:
                self.send(200, {"object": "list", "data": [{"id": name} for name in served]})

        def send(self, status: int, answer: Any) -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
        assert "Bearer hf_mine" not in tokens, "nor is the question for the name sent with it"
        assert len(tokens) <= 1, "the model's name is asked for once, not with every question"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_FIRST_WAIT_SECONDS", 0.01)
    # The tests' own switch against the network would also keep this machine's server away.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def clip(sample_fps: float = 2.0) -> MarkedFrames:
    pixels = np.full((6, 80, 120, 3), 90, np.uint8)
    for i in range(6):
        pixels[i, 20:60, 10 + 15 * i : 40 + 15 * i] = (250, 20, 20)
    frames = make_frames(
        pixels, sample_fps=sample_fps, indices=range(0, 90, 15), model_size=(56, 84)
    )
    return marked(frames, 1)


def decoded(body: dict[str, Any]) -> tuple[float, list[np.ndarray]]:
    text, video = body["messages"][0]["content"]
    assert text["type"] == "text", "the text comes before the video, as in training"
    head, data = video["video_url"]["url"].split(",", 1)
    assert head == "data:video/mp4;base64"
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        rate = float(container.streams.video[0].average_rate)
        return rate, [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


@pytest.mark.parametrize("sample_fps", [2.0, 1.9, 4.0])
def test_the_marked_frames_arrive_at_their_rate_and_size(sample_fps: float) -> None:
    with serving(lambda i, body: answered()) as (url, bodies):
        vlm = ServerVLM(url, model="stvg", token="hf_secret")
        video = vlm.encode(clip(sample_fps))
        assert vlm.generate(["find it"], video, max_new_tokens=77) == [ANSWER]
    (body,) = bodies
    assert body["path"] == "/v1/chat/completions" and body["bearer"] == "Bearer hf_secret"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("stvg", 77, 0.0)
    assert body["mm_processor_kwargs"]["fps"] == sample_fps
    rate, frames = decoded(body)
    assert rate == pytest.approx(sample_fps) and len(frames) == 6
    assert frames[0].shape == (56, 84, 3)
    for i, frame in enumerate(frames):
        red = frame[28, round((25 + 15 * i) * 84 / 120)].astype(int)
        assert red[0] > 200 and red[1:].max() < 80, "the picture is the right one, in RGB"


def test_several_questions_keep_their_order_and_report_progress() -> None:
    def reply(i: int, body: dict[str, Any]) -> tuple[int, Any]:
        prompt = body["messages"][0]["content"][0]["text"]
        time.sleep(0.05 if prompt == "q0" else 0)
        return answered(prompt.upper())

    told: list[tuple[str, int, int | None]] = []
    with serving(reply) as (url, _):
        vlm = ServerVLM(url)
        texts = vlm.generate(
            [f"q{i}" for i in range(10)],
            vlm.encode(clip()),
            max_new_tokens=5,
            progress=lambda *call: told.append(call),
        )
    assert texts == [f"Q{i}" for i in range(10)]
    assert told[-1] == ("answer", 10, 10)


def ask(url: str, **options: Any) -> list[str]:
    vlm = ServerVLM(url, **options)
    return vlm.generate(["q"], vlm.encode(clip()), max_new_tokens=5)


@pytest.mark.parametrize("path", ["", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_model_is_asked_by_the_name_it_is_served_under(path: str) -> None:
    with serving(lambda i, body: answered(), served=("qwen",)) as (url, bodies):
        assert ask(url.removesuffix("/v1") + path) == [ANSWER]
        assert bodies[0]["model"] == "qwen"
        with pytest.raises(ModelError, match="HTTP 404"):
            ask(url, model="other")


def test_of_several_models_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda i, body: answered(), served=("base", "lora")) as (url, bodies):
        with pytest.raises(ModelError, match=r"serves base, lora; .* STVG_SERVER_MODEL"):
            ask(url)
        monkeypatch.setenv("STVG_SERVER_MODEL", "lora")
        monkeypatch.setenv("STVG_SERVER_TOKEN", "key")
        vlm = ServerVLM.from_environment(url)
        assert vlm.generate(["q"], vlm.encode(clip()), max_new_tokens=5) == [ANSWER]
        assert (bodies[-1]["model"], bodies[-1]["bearer"]) == ("lora", "Bearer key")


def test_the_login_for_the_hub_goes_to_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with serving(lambda i, body: answered(), served=("qwen",)) as (url, bodies):
        assert ask(url) == [ANSWER]
        assert bodies[0]["bearer"] == "Bearer EMPTY"
    for address, of_hub in (
        ("https://x.us-east-1.aws.endpoints.huggingface.cloud", True),
        ("https://router.huggingface.co/v1", True),
        ("http://x.endpoints.huggingface.cloud", False),
        ("https://nothuggingface.co/v1", False),
        ("https://huggingface.co.example.org/v1", False),
    ):
        assert (ServerVLM(address)._key() is None) == of_hub, address
    with serving(lambda i, body: (401, {"error": "no key"})) as (url, _):
        with pytest.raises(ModelError, match=r"HTTP 401\): give its key .*STVG_SERVER_TOKEN"):
            ask(url)


@pytest.mark.parametrize("url", ["localhost:8000", "/v1", "", "ftp://x/v1", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="must be like 'http://localhost:8000/v1'"):
        ServerVLM(url)


def test_the_offline_switch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        ask("http://127.0.0.1:9/v1")


def test_a_busy_server_is_asked_again() -> None:
    replies = [(503, {"error": "loading"}), (429, {}), answered()]
    with serving(lambda i, body: replies[i]) as (url, bodies):
        assert ask(url) == [ANSWER] and len(bodies) == 3
    with serving(lambda i, body: (503, {})) as (url, bodies):
        with pytest.raises(ModelError, match=r"did not answer in 4 attempts \(HTTP 503\)"):
            ask(url)
        assert len(bodies) == 4


def test_a_refusal_is_not_repeated_and_its_reason_is_told() -> None:
    with serving(lambda i, body: (400, {"error": "no video please"})) as (url, bodies):
        with pytest.raises(ModelError, match=r"refused the question.*HTTP 400.*no video please"):
            ask(url)
        assert len(bodies) == 1
    # As transformers serve says it.
    unknown = {"detail": "Unexpected fields in the request: {'mm_processor_kwargs'}"}
    with serving(lambda i, body: (422, unknown)) as (url, _):
        with pytest.raises(ModelError, match=r"HTTP 422\): it does not know .* vLLM or SGLang"):
            ask(url)


@pytest.mark.parametrize(
    "answer",
    [b"<html>hello</html>", {}, {"choices": []}, [1], answered(text=None)[1], b""],
    ids=["html", "empty", "no choice", "list", "no text", "nothing"],
)
def test_nonsense_is_one_sentence(answer: Any) -> None:
    with serving(lambda i, body: (200, answer)) as (url, _):
        with pytest.raises(ModelError, match="does not speak OpenAI's chat protocol") as raised:
            ask(url, attempts=1)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_down_or_slow() -> None:
    with pytest.raises(ModelError, match="did not answer in 2 attempts"):
        ask("http://127.0.0.1:9/v1", attempts=2)

    def slow(i: int, body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(1.0)
        return answered()

    with serving(slow) as (url, _):
        with pytest.raises(ModelError, match=r"no answer in 0\.2 s"):
            ask(url, attempts=1, timeout_seconds=0.2)


def test_a_server_that_ignores_the_video_is_told() -> None:
    """Its prompt tokens cannot hold the video; without usage nothing can be said."""
    with serving(lambda i, body: answered(used=4)) as (url, _):
        with pytest.raises(ModelError, match="ignored the video: it read 4 tokens"):
            ask(url)
    with serving(lambda i, body: answered(used=None)) as (url, _):
        assert ask(url) == [ANSWER]


def test_a_pipeline_around_a_server() -> None:
    from stvg_r1_hub.video import open_video
    from tests.test_pipeline import COUNT, FPS, HEIGHT, WIDTH, FixedTracker, make_track

    frames = np.random.default_rng(0).integers(0, 99, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with serving(lambda i, body: answered()) as (url, bodies):
        pipeline = STVGPipeline(STVGConfig(), FixedTracker(make_track(2, 90)), ServerVLM(url))
        with open_video(frames, fps=FPS) as source:
            result = pipeline("the dog", source)

            def stop(stage: str, done: int, total: int | None) -> None:
                if stage == "answer":
                    raise Cancelled("enough")

            with pytest.raises(Cancelled):
                pipeline("the dog", source, progress=stop)
    assert result.found and result.object_ids == (2,) and len(result.boxes) == 10
    assert '"the dog"' in bodies[0]["messages"][0]["content"][0]["text"]
