"""The server backend against a small server on this machine that speaks the protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from stvg_r1_hub import STVGConfig, STVGPipeline
from stvg_r1_hub.errors import Cancelled, ConfigError, ModelError
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.structures import MarkedFrames
from stvg_r1_hub.vlm.resizing import model_frames
from stvg_r1_hub.vlm.server import ServerVLM, client
from tests.builders import make_frames, marked
from tests.vlm.stand_in import ANSWER, answered, seen_in, serving

VLLM = {"models": ("qwen",), "owner": "vllm", "version": "0.33.0"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_FIRST_WAIT_SECONDS", 0.01)
    # The tests' own switch against the network would also keep this machine's server away.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def clip(n: int = 6, sample_fps: float = 2.0, times: Any = None) -> MarkedFrames:
    """A red square on grey that moves from left to right."""
    pixels = np.full((n, 80, 120, 3), 90, np.uint8)
    for i in range(n):
        left = 10 + 75 * i // max(n - 1, 1)
        pixels[i, 20:60, left : left + 30] = (250, 20, 20)
    frames = make_frames(pixels, sample_fps=sample_fps, times=times, model_size=(56, 84))
    return marked(frames, 1)


def ask(url: str, video: MarkedFrames | None = None, **options: Any) -> list[str]:
    vlm = ServerVLM(url, **options)
    return vlm.generate(["q"], vlm.encode(video or clip()), max_new_tokens=5)


def refused(reply: Any, **options: Any) -> str:
    """What is said of a server that answers so."""
    way = options.pop("input", "auto")
    with serving(lambda body: reply, **options) as server:
        with pytest.raises(ModelError) as raised:
            ask(server.url, input=way)
    said = str(raised.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("way", ["video", "frames", "images"])
@pytest.mark.parametrize("sample_fps", [2.0, 1.9, 4.0])
def test_the_marked_frames_arrive_with_their_times_and_at_their_size(
    way: str, sample_fps: float
) -> None:
    with serving(lambda body: answered()) as server:
        vlm = ServerVLM(server.url, model="stvg", token="hf_secret", input=way)
        video = vlm.encode(clip(sample_fps=sample_fps))
        assert vlm.generate(["find it"], video, max_new_tokens=77) == [ANSWER]
    assert video.input == way and video.warnings == ()
    (body,) = server.bodies
    assert body["path"] == "/v1/chat/completions" and server.keys[-1] == "Bearer hf_secret"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("stvg", 77, 0.0)
    seen = seen_in(body)
    assert seen.text == "find it" and seen.pixels.shape == (6, 56, 84, 3)
    assert seen.sample_fps is None or seen.sample_fps == pytest.approx(sample_fps, rel=1e-4)
    np.testing.assert_allclose(seen.times, np.arange(6) / sample_fps, atol=0.006)
    local = model_frames(clip().frames)
    assert np.abs(seen.pixels.astype(int) - local).mean() < 2
    if way != "images":
        assert body["mm_processor_kwargs"]["do_resize"] is False
        assert body["mm_processor_kwargs"]["do_sample_frames"] is False


@pytest.mark.parametrize("way", ["frames", "images"])
def test_times_of_a_variable_frame_rate_are_kept(way: str) -> None:
    times = [0.0, 0.1, 0.5, 2.25, 2.3, 7.0]
    with serving(lambda body: answered()) as server:
        ask(server.url, clip(times=times), input=way)
    np.testing.assert_allclose(seen_in(server.bodies[0]).times, times, atol=0.006)


@pytest.mark.parametrize(
    ("served", "ways"),
    [
        (VLLM, ["frames", "video", "video", "images"]),
        ({**VLLM, "version": "0.31.0"}, ["frames", "video", "video", "images"]),
        ({**VLLM, "version": "0.30.2"}, ["images"]),
        ({**VLLM, "owner": "sglang", "version": None}, ["video", "video", "images"]),
        ({**VLLM, "owner": "llamacpp", "version": None}, ["images"]),
        ({**VLLM, "owner": "library", "version": None}, ["images"]),
        ({}, ["images"]),
    ],
    ids=["vllm", "vllm 0.31", "vllm 0.30", "sglang", "llama.cpp", "ollama", "silent"],
)
def test_auto_tries_what_the_server_is_known_to_take(served: Any, ways: list[str]) -> None:
    """Each is refused in turn; then the first is taken, and for the next clip at once."""
    with serving(lambda body: (400, {"error": "not like this"}), **served) as server:
        with pytest.raises(ModelError, match="not like this"):
            ask(server.url)
        assert [_way(body) for body in server.bodies] == ways
    with serving(
        lambda body: answered() if _way(body) == ways[-1] else (400, {}), **served
    ) as server:
        vlm = ServerVLM(server.url)
        for expected in (ways.index(ways[-1]) + 1, 1):
            server.bodies.clear()
            video = vlm.encode(clip())
            assert vlm.generate(["q"] * 3, video, max_new_tokens=5) == [ANSWER] * 3
            assert video.input == ways[-1] and len(server.bodies) == expected + 2
        assert server.looked_at.count("/v1/models") == 1, "nor is it asked what it is again"


def _way(body: dict[str, Any]) -> str:
    part = body["messages"][0]["content"][-1]
    if part["type"] == "image_url":
        return "images"
    return "frames" if part["video_url"]["url"].startswith("data:video/jpeg") else "video"


def test_a_server_that_refuses_full_colour_is_sent_the_full_size_and_that_is_said() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        small = seen_in(body).pixels.shape[1:3] == (56, 84)
        return (400, {"error": "cannot decode pixel format yuv444p"}) if small else answered()

    with serving(reply) as server:
        vlm = ServerVLM(server.url, input="video")
        video = vlm.encode(clip())
        assert vlm.generate(["q"], video, max_new_tokens=5) == [ANSWER]
    assert seen_in(server.bodies[-1]).pixels.shape == (6, 80, 120, 3)
    assert "do_resize" not in server.bodies[-1]["mm_processor_kwargs"]
    assert len(video.warnings) == 1 and "full size" in video.warnings[0]


def test_an_older_vllm_is_not_sent_frames_without_times() -> None:
    said = refused(answered(), **{**VLLM, "version": "0.25.1"}, input="frames")
    assert "runs vLLM 0.25.1, and frames need 0.31 or later" in said


def test_a_long_clip_is_thinned_and_that_is_said() -> None:
    with serving(lambda body: answered()) as server:
        vlm = ServerVLM(server.url, input="images")
        video = vlm.encode(clip(n=70))
        vlm.generate(["q"], video, max_new_tokens=5)
    times = seen_in(server.bodies[0]).times
    assert len(times) == 32 and (times[0], times[-1]) == (0, 34.5)
    assert video.warnings == ("The server was sent 32 of the 70 sampled frames, as images.",)


@pytest.mark.parametrize(
    ("words", "taken", "sent"),
    [
        ("At most 10 image(s) may be provided in one prompt.", 10, [32, 10]),
        ("Too many images in request: maximum is 10, got 32", 10, [32, 10]),
        ("images: limit of 10 exceeded", 10, [32, 10]),
        ("the request exceeds the available context size", 9, [32, 16, 8]),
        ("This model's maximum context length is 4096 tokens", 16, [32, 16]),
    ],
)
def test_a_server_that_takes_fewer_images_is_sent_fewer(
    words: str, taken: int, sent: list[int]
) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        n = len(seen_in(body).times)
        return answered() if n <= taken else (400, {"error": {"message": words}})

    with serving(reply) as server:
        vlm = ServerVLM(server.url)
        first, second = vlm.encode(clip(n=40)), vlm.encode(clip(n=40))
        assert vlm.generate(["q"], first, max_new_tokens=5) == [ANSWER]
        assert [len(seen_in(body).times) for body in server.bodies] == sent
        vlm.generate(["q"], second, max_new_tokens=5)
        assert len(server.bodies) == len(sent) + 1, "the limit is kept in mind"
    assert first.warnings == (
        f"The server was sent {sent[-1]} of the 40 sampled frames, as images.",
    )


def test_images_are_no_larger_than_hosted_models_take() -> None:
    pixels = np.zeros((2, 1080, 1920, 3), np.uint8)
    frames = make_frames(pixels, model_size=(1092, 1932))
    with serving(lambda body: answered()) as server:
        vlm = ServerVLM(server.url)
        video = vlm.encode(marked(frames))
        vlm.generate(["q"], video, max_new_tokens=5)
    height, width = seen_in(server.bodies[0]).pixels.shape[1:3]
    assert height * width <= 1_004_000 and height / width == pytest.approx(1092 / 1932, rel=0.01)
    assert video.warnings == (
        f"The server was sent images of {width}x{height} instead of 1932x1092.",
    )


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("llava", "0.50 s:"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "0.50 s:"),
        ("Qwen/Qwen3-VL-8B-Instruct", "<0.5 seconds>"),
        ("qwen3-vl:4b", "<0.5 seconds>"),
        ("Qwen3.5-35B-A3B", "<0.5 seconds>"),
    ],
)
def test_times_are_written_as_the_model_was_trained(model: str, label: str) -> None:
    with serving(lambda body: answered()) as server:
        ask(server.url, model=model, input="images")
    assert server.bodies[0]["messages"][0]["content"][3]["text"] == label


BAD: list[tuple[str, Any, dict[str, Any], str]] = [
    (
        "no images: llama.cpp without its projector",
        (500, {"error": {"message": "image input is not supported - hint: provide the mmproj"}}),
        {},
        "refused the question (HTTP 500): image input is not supported - hint: provide the mmproj;"
        " serve a model with vision",
    ),
    (
        "no images: vLLM with a text model",
        (400, {"message": "Qwen2 is not a multimodal model"}),
        VLLM,
        "serve a model with vision",
    ),
    (
        "no images: content must be text",
        (422, {"detail": "messages.0.content: Input must be a string"}),
        {},
        "serve a model with vision",
    ),
    (
        "two images at most: too few for a clip",
        (400, {"error": "At most 2 image(s) may be provided in one prompt."}),
        {},
        "At most 2 image(s)",
    ),
    (
        "cuts long prompts silently",
        answered(used=40),
        {},
        "read 40 tokens of a question that has at least 96: it cuts long questions (give it a",
    ),
    ("ignores the video", answered(used=4), {"input": "video"}, "read 4 tokens of a question"),
    ("streams", (200, b'data: {"choices": []}\n\n'), {}, "streams its answer though it was not"),
    (
        "streams, and says so",
        (200, b": ping\n\n"),
        {"content_type": "text/event-stream"},
        "streams its answer though it was not asked to; switch that off",
    ),
    ("asks for a key", (401, {"error": "no key"}), {}, "give its key as token, or in STVG_SERVER"),
    ("is a web page", (200, b"<!DOCTYPE html><p>hi"), {}, "is a web page; give the base address"),
    ("is a web page, and says so", (404, b"hi"), {"content_type": "text/html"}, "is a web page"),
    (
        "frames are too large",
        (413, {"error": "Payload Too Large"}),
        {},
        "(HTTP 413): Payload Too Large; set a smaller max_pixels",
    ),
    (
        "frames have too many pixels",
        (400, {"error": "image resolution exceeds 512x512"}),
        {},
        "image resolution exceeds 512x512; set a smaller max_pixels",
    ),
    (
        "the context is too short for four images",
        (400, {"error": "exceeds the available context size"}),
        {},
        "give the server a larger context",
    ),
    (
        "does not know the fields, as transformers serve says it",
        (422, {"detail": "Unexpected fields in the request: {'mm_processor_kwargs'}"}),
        {"input": "video"},
        "it does not know media_io_kwargs and mm_processor_kwargs",
    ),
    ("empty", (200, {}), {}, "does not speak OpenAI's chat protocol"),
    ("no choice", (200, {"choices": []}), {}, "does not speak OpenAI's chat protocol"),
    ("a list", (200, [1]), {}, "does not speak OpenAI's chat protocol"),
    ("no text", answered(text=None), {}, "does not speak OpenAI's chat protocol"),
    ("nothing", (200, b""), {}, "does not speak OpenAI's chat protocol"),
    ("refuses without a word", (400, b""), {}, "(HTTP 400): no reason given"),
]


@pytest.mark.parametrize(
    ("reply", "options", "said"), [row[1:] for row in BAD], ids=[r[0] for r in BAD]
)
def test_what_servers_do_instead_is_one_clear_sentence(
    reply: Any, options: dict[str, Any], said: str
) -> None:
    assert said in refused(reply, **options)


def test_prose_is_an_answer_that_was_not_found() -> None:
    result = grounded(answered("The dog runs happily through the green garden."))
    assert not result.found and "names no object ID" in " ".join(result.warnings)


def test_of_forty_objects_a_foreign_model_is_shown_twenty_and_that_is_said() -> None:
    result = grounded(answered(), n_objects=40, config=STVGConfig.load(BUNDLED / "zero-shot"))
    assert result.found and max(result.tracks.object_ids) == 20
    assert any("40" in warning and "20" in warning for warning in result.warnings)


def test_frame_numbers_are_those_of_the_images_that_were_sent() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        if len(seen_in(body).times) > 8:
            return 400, {"error": {"message": "At most 8 image(s) may be provided in one prompt."}}
        return answered("Object 2, frames 2 to 3")

    # Eight of four seconds are sent, evenly: at 0, 0.6, 1.1, 1.7 and so on.
    result = grounded(reply)
    assert (result.start_seconds, result.end_seconds) == (0.6, 1.7)


def test_a_thought_that_a_server_parts_from_the_answer_is_kept() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        status, answer = answered("<answer>Target ID: 2, Time range: 0.50 to 1.50</answer>")
        answer["choices"][0]["message"]["reasoning_content"] = "the dog is 2"
        return status, answer

    result = grounded(reply)
    assert result.found and result.reasoning == "the dog is 2"


def grounded(reply: Any, n_objects: int = 1, config: STVGConfig | None = None) -> Any:
    """A question to a pipeline around a server that answers so."""
    from stvg_r1_hub.video import open_video
    from tests.test_pipeline import COUNT, FPS, HEIGHT, WIDTH, FixedTracker, make_track

    frames = np.random.default_rng(0).integers(0, 99, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    tracks = [make_track(i + 2, 90) for i in range(n_objects)]
    config = config or STVGConfig()
    with serving(reply if callable(reply) else lambda body: reply) as server:
        pipeline = STVGPipeline(config, FixedTracker(*tracks), ServerVLM(server.url))
        with open_video(frames, fps=FPS) as source:
            result = pipeline("the dog", source)
    assert '"the dog"' in server.bodies[0]["messages"][0]["content"][0]["text"]
    return result


def test_several_questions_keep_their_order_and_report_progress() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        prompt = body["messages"][0]["content"][0]["text"]
        time.sleep(0.05 if prompt == "q1" else 0)
        return answered(prompt.upper())

    told: list[tuple[str, int, int | None]] = []
    with serving(reply) as server:
        vlm = ServerVLM(server.url)
        texts = vlm.generate(
            [f"q{i}" for i in range(10)],
            vlm.encode(clip()),
            max_new_tokens=5,
            progress=lambda *call: told.append(call),
        )
    assert texts == [f"Q{i}" for i in range(10)]
    assert [done for _, done, _ in told] == list(range(1, 11))


@pytest.mark.parametrize("path", ["", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_model_is_asked_by_the_name_it_is_served_under(path: str) -> None:
    with serving(lambda body: answered(), models=("qwen",)) as server:
        assert ask(server.url.removesuffix("/v1") + path) == [ANSWER]
        assert server.bodies[0]["model"] == "qwen"
        with pytest.raises(ModelError, match="HTTP 404"):
            ask(server.url, model="other")


def test_an_address_keeps_its_own_version_and_query() -> None:
    with serving(lambda body: answered()) as server:
        root = server.url.removesuffix("/v1")
        ask(f"{root}/v1beta/openai?key=1")
        ask(f"{root}/api?key=1")
    assert [body["path"] for body in server.bodies] == [
        "/v1beta/openai/chat/completions?key=1",
        "/api/v1/chat/completions?key=1",
    ]


def test_of_several_models_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda body: answered(), models=("base", "lora")) as server:
        with pytest.raises(ModelError, match=r"serves base, lora; .* STVG_SERVER_MODEL"):
            ask(server.url)
        monkeypatch.setenv("STVG_SERVER_MODEL", "lora")
        monkeypatch.setenv("STVG_SERVER_TOKEN", "key")
        vlm = ServerVLM.from_environment(server.url)
        assert vlm.generate(["q"], vlm.encode(clip()), max_new_tokens=5) == [ANSWER]
        assert (server.bodies[-1]["model"], server.keys[-1]) == ("lora", "Bearer key")


def test_the_login_for_the_hub_goes_to_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with serving(lambda body: answered(), models=("qwen",)) as server:
        assert ask(server.url) == [ANSWER]
        assert set(server.keys) == {"Bearer EMPTY"}
    for address, of_hub in (
        ("https://x.us-east-1.aws.endpoints.huggingface.cloud", True),
        ("https://router.huggingface.co/v1", True),
        ("http://x.endpoints.huggingface.cloud", False),
        ("https://nothuggingface.co/v1", False),
        ("https://huggingface.co.example.org/v1", False),
    ):
        key = client.Client(address, None, 1, 1)._key()
        assert key == ("hf_mine" if of_hub else "EMPTY"), address


@pytest.mark.parametrize("url", ["localhost:8000", "/v1", "", "ftp://x/v1", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="must be like 'http://localhost:8000/v1'"):
        ServerVLM(url)


def test_an_input_that_is_none() -> None:
    with pytest.raises(ConfigError, match="'gif'; it must be one of auto, video, frames, images"):
        ServerVLM("http://localhost/v1", input="gif")


def test_the_offline_switch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        ask("http://127.0.0.1:9/v1")


def test_a_busy_server_is_asked_again() -> None:
    replies: Iterator[Any] = iter([(503, {"error": "loading"}), (429, {}), answered()])
    with serving(lambda body: next(replies)) as server:
        assert ask(server.url) == [ANSWER] and len(server.bodies) == 3
    with serving(lambda body: (503, {})) as server:
        with pytest.raises(ModelError, match=r"did not answer in 4 attempts \(HTTP 503\)"):
            ask(server.url)
        assert len(server.bodies) == 4


def test_a_server_that_is_down_or_slow() -> None:
    with pytest.raises(ModelError, match="did not answer in 2 attempts"):
        ask("http://127.0.0.1:9/v1", attempts=2)

    def slow(body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(1.0)
        return answered()

    with serving(slow) as server:
        with pytest.raises(ModelError, match=r"no answer in 0\.2 s"):
            ask(server.url, attempts=1, timeout_seconds=0.2)


def test_without_a_count_of_tokens_nothing_can_be_said() -> None:
    with serving(lambda body: answered(used=None)) as server:
        assert ask(server.url) == [ANSWER]


def test_a_pipeline_around_a_server() -> None:
    from stvg_r1_hub.video import open_video
    from tests.test_pipeline import COUNT, FPS, HEIGHT, WIDTH, FixedTracker, make_track

    result = grounded(answered())
    assert result.found and result.object_ids == (2,) and len(result.boxes) == 10
    frames = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    with serving(lambda body: answered()) as server, open_video(frames, fps=FPS) as source:
        pipeline = STVGPipeline(
            STVGConfig(), FixedTracker(make_track(2, 90)), ServerVLM(server.url)
        )

        def stop(stage: str, done: int, total: int | None) -> None:
            if stage == "answer":
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            pipeline("the dog", source, progress=stop)
