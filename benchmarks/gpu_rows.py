"""The rows of `benchmarks.gpu_report`: each measures one thing and yields lines of the table.

A row takes a device and whether it is to run at its smallest, and yields pairs of what was measured
and the figure. Models have random weights, made on the device in the shape of the published ones.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench_model, bench_stages, grpo_step
from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import GenerationSettings, STVGConfig
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.segmentation import TransformersSam2
from stvg_r1_hub.tracking import OnnxDetector, TransformersDetector
from stvg_r1_hub.tracking.onnx_detector import COCO_FOLDER
from stvg_r1_hub.video import VideoSource, open_video
from stvg_r1_hub.vlm.decoding import TOKENS_UNTIL_COMPILING_PAYS
from stvg_r1_hub.vlm.local import LocalVLM
from stvg_r1_hub.vlm.processing import load_processor

Lines = Iterator[tuple[str, str]]
ANSWER_TOKENS = 200
QUERY = "the dog jumping"
_LAYERS = (28, 20, 14, 8, 4, 2)
"""Of the 7B model's 28, tried from the most on."""


def tower(device: str, smallest: bool) -> Lines:
    """The packed vision tower against transformers' own, at the official shape."""
    grid = (2, 4, 6) if smallest else bench_model.GRID
    model = bench_model.build_tower(device, 4 if smallest else 1)
    stock, ours, difference = bench_model.compare_towers(model, grid, device, 1 if smallest else 5)
    what = f"{model.config.depth} layers, {grid[0] * grid[1] * grid[2]} patches"
    yield f"{what}: transformers", f"{stock:.3f} s"
    yield f"{what}: packed", f"{ours:.3f} s, {stock / ours:.1f} times as fast"
    yield "largest difference", f"{difference:.1e}"


def first_answer(device: str, smallest: bool) -> Lines:
    """The first answer about 20 s of 720p, by stage, of a model that has seen another clip."""
    pipeline = random_pipeline(device, smallest)
    with clip(smallest) as source:
        for name in ("the first of all", "the next"):
            timings, _, _, sizes = bench_stages.ask_once(pipeline, source, QUERY)
            yield f"{name}: in all", f"{sum(timings.values()):.2f} s; {sizes}"
    for stage, seconds in timings.items():
        yield f"{name}: {stage}", f"{seconds:.2f} s"


def generation(device: str, smallest: bool) -> Lines:
    """Tokens one by one: launched one kernel at a time, and replayed as compiled graphs."""
    tokens = 4 if smallest else ANSWER_TOKENS
    vlm = random_vlm(device, smallest, tokens)
    with clip(smallest) as source:
        encoded = vlm.encode(marked(random_pipeline(device, smallest, vlm), source))
    prompt = build_prompt(QUERY, vlm.config.prompt_id)

    def answer() -> Any:
        return vlm.generate([prompt], encoded, max_new_tokens=tokens)

    clock = _clock(device)
    answer()
    eager = bench_model.seconds(answer, device, 1)
    yield f"{tokens} tokens, eager", f"{eager:.2f} s, {eager / tokens * 1000:.1f} ms a token"
    fixed = LocalVLM(vlm.model, vlm.processor, vlm.config, static_cache=True)
    started = clock()
    fixed.generate([prompt], encoded, max_new_tokens=tokens)
    compiling = clock() - started
    yield f"{tokens} tokens, static cache, compiling", f"{compiling:.2f} s"
    vlm = fixed
    static = bench_model.seconds(answer, device, 1)
    yield (
        f"{tokens} tokens, static cache",
        f"{static:.2f} s, {static / tokens * 1000:.1f} ms a token; {eager / static:.1f} times as "
        f"fast{'' if fixed._decoder.static_cache else ', but it could not be compiled'}",
    )
    saved = (eager - static) / tokens
    pays = (
        f"from {compiling / saved:.0f} tokens on" if saved > 0 else f"never ({saved:.1e} s a token)"
    )
    yield "compiling pays", f"{pays}; the code compiles from {TOKENS_UNTIL_COMPILING_PAYS} on"


def questions(device: str, smallest: bool) -> Lines:
    """Ten questions about one encoded clip, and one."""
    pipeline = random_pipeline(device, smallest)
    asked = bench_model.QUESTIONS
    prompts = [build_prompt(question, pipeline.config.prompt_id) for question in asked]
    with clip(smallest) as source:
        encoded = pipeline.vlm.encode(marked(pipeline, source))
    limit = pipeline.config.generation.max_new_tokens
    times = [
        bench_model.seconds(
            lambda n=n: pipeline.vlm.generate(prompts[:n], encoded, max_new_tokens=limit), device, 1
        )
        for n in (1, len(prompts))
    ]
    yield "one question", f"{times[0]:.2f} s"
    yield f"{len(prompts)} questions", f"{times[1]:.2f} s, {times[1] / times[0]:.1f} times as long"


def detectors(device: str, smallest: bool) -> Lines:
    """Frames of 720p through the detectors, in batches as the tracker gives them."""
    frames = list(np.random.default_rng(0).integers(0, 256, (8, 720, 1280, 3), dtype=np.uint8))
    frames = frames[:2] if smallest else frames

    def line(name: str, detector: Any) -> tuple[str, str]:
        seconds = bench_model.seconds(lambda: detector.detect(frames), device, 1 if smallest else 5)
        return f"{name}, batches of {len(frames)}", f"{seconds / len(frames) * 1000:.1f} ms a frame"

    yield line("the bundled COCO detector", OnnxDetector(COCO_FOLDER, device=device))
    with tempfile.TemporaryDirectory() as folder:
        save_random_detector(Path(folder), smallest)
        yield line("RT-DETRv2's shape", TransformersDetector(folder, device=device))


def paper_tracker(device: str, smallest: bool) -> Lines:
    """SAM 2 for one object and for ten, and what the official restarts would cost."""
    n_frames, most = (2, 3) if smallest else (20, 10)
    segmenter = random_sam2(device, smallest)
    frame = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    per_frame = {}
    for n_objects in (1, most):
        session = segmenter.open(720, 1280, n_frames + 1)
        session.next_frame(frame)
        for number in range(n_objects):
            mask = np.zeros((720, 1280), bool)
            mask[100:500, 100 * number : 100 * number + 90] = True
            session.add(number, mask=mask)
        session.next_frame(frame)
        started = _clock(device)()
        for _ in range(n_frames - 1):
            session.next_frame(frame)
        per_frame[n_objects] = (_clock(device)() - started) / (n_frames - 1)
        yield f"{n_objects} objects followed", f"{per_frame[n_objects] * 1000:.1f} ms a frame"
    together = per_frame[most] / per_frame[1]
    yield f"{most} objects to one", f"{together:.1f} times as long"
    n_found, steps, restarts = bench_model.count_frame_steps()
    yield (
        f"{n_found} objects found one by one in 300 frames",
        f"{steps} frame-steps in one pass, {restarts} with the official restarts",
    )


def masks(device: str, smallest: bool) -> Lines:
    """Masks of an answer of 1.5 s, one object."""
    pipeline = STVGPipeline.from_pretrained("tiny", device="cpu")
    segmenter = random_sam2(device, smallest)
    with clip(smallest) as source:
        _, tracks = pipeline.read(source, query=QUERY)
        tube = bench_stages.stand_in(tracks)
        for name in ("the first of all", "the next"):
            seconds, n = bench_stages.segment_once(segmenter, source, tube, 2 if smallest else 40)
            yield f"{name}: {n} frames", f"{seconds:.2f} s, {seconds / n * 1000:.0f} ms a frame"


def grpo(device: str, smallest: bool) -> Lines:
    """One GRPO step at the official shape, the prefix repeated and shared."""
    import torch

    options = argparse.Namespace(device=device, rollout_tokens=ANSWER_TOKENS, checkpointing=True)
    length = ANSWER_TOKENS
    if smallest:
        options.rollout_tokens = length = 2
    for layers in (2,) if smallest else _LAYERS:
        try:
            plain, shared = grpo_figures(layers, 128 if smallest else 3584, length, options)
            break
        except torch.OutOfMemoryError:
            if layers == _LAYERS[-1]:
                raise
        gc.collect()
        torch.cuda.empty_cache()
    for name, figures in (("repeated", plain), ("shared", shared)):
        parts = [figures[f"{part} s"] for part in ("rollout", "loss forward", "backward")]
        memory = figures.get("peak memory GB", figures["kept activations GB"])
        yield (
            f"{layers} layers, prefix {name}: rollout, loss, backward",
            " + ".join(f"{part:.2f}" for part in parts)
            + f" = {sum(parts):.2f} s; {memory:.1f} GB beside the weights",
        )


ROWS: dict[str, Callable[[str, bool], Lines]] = {
    "vision tower": tower,
    "first answer": first_answer,
    "ten questions": questions,
    "detectors": detectors,
    "paper's tracker": paper_tracker,
    "masks": masks,
    "GRPO step": grpo,
    "generation": generation,
}
"""In the order in which they run: what may take longest comes last."""


def grpo_figures(
    layers: int, hidden: int, length: int, options: argparse.Namespace
) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of `grpo_step` without and with a shared prefix."""
    import torch

    model = grpo_step.build_model(layers, hidden, options.device)
    policy = grpo_step.Policy(model)
    question = grpo_step.build_question(policy, options.device, 0.1 if hidden < 3584 else 1.0)
    completions = [
        torch.full((length,), 7, device=options.device) for _ in range(grpo_step.GENERATIONS)
    ]
    plain, _ = grpo_step.measure(policy, question, completions, options, share_prefix=False)
    shared, _ = grpo_step.measure(policy, question, completions, options, share_prefix=True)
    return plain, shared


@contextmanager
def clip(smallest: bool) -> Iterator[VideoSource]:
    """20 s of 720p, or the bundled clip as it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = bench_stages.DEMO
        if not smallest:
            path = Path(folder) / "clip.mp4"
            bench_stages.make_clip(path)
        with open_video(path) as source:
            yield source


def random_vlm(device: str, smallest: bool, tokens: int) -> LocalVLM:
    """The 7B checkpoint's shape around the bundled tokenizer; it never ends its answer."""
    from transformers import GenerationConfig

    processor = load_processor(BUNDLED / "tiny", "qwen2_5_vl")
    ids = {
        name: processor.tokenizer.convert_tokens_to_ids(f"<|{word}|>")
        for name, word in (
            ("video_token_id", "video_pad"),
            ("image_token_id", "image_pad"),
            ("vision_start_token_id", "vision_start"),
            ("vision_end_token_id", "vision_end"),
        )
    }
    layers, hidden = (2, 128) if smallest else (28, 3584)
    model = grpo_step.build_model(layers, hidden, device, **ids)
    model.generation_config = GenerationConfig(
        do_sample=False, pad_token_id=processor.tokenizer.pad_token_id
    )
    config = STVGConfig(generation=GenerationSettings(max_new_tokens=tokens))
    return LocalVLM(model, processor, config, static_cache=False)


def random_pipeline(device: str, smallest: bool, vlm: LocalVLM | None = None) -> STVGPipeline:
    """The bundled tracker and a model of the 7B checkpoint's shape."""
    if device == "cuda":
        bench_stages.CLOCK = time.perf_counter
    vlm = vlm or random_vlm(device, smallest, 4 if smallest else ANSWER_TOKENS)
    bundled = STVGPipeline.from_pretrained("tiny", device=device)
    config = vlm.config
    if smallest:
        few = dataclasses.replace(config.sampling, max_frames=4, total_pixels=4 * 56 * 56 * 4)
        config = dataclasses.replace(config, sampling=few)
    return bundled.replace(config=config, vlm=vlm)


def marked(pipeline: STVGPipeline, source: VideoSource) -> Any:
    return pipeline.mark(*pipeline.read(source, query=QUERY))


def random_sam2(device: str, smallest: bool) -> TransformersSam2:
    """The shape of facebook/sam2.1-hiera-large, or of the tiny one in small pictures."""
    import torch
    import transformers

    widths = [96, 192, 384, 768] if smallest else [144, 288, 576, 1152]
    side = 64 if smallest else 1024
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": widths[0],
        "image_size": [side, side],
        "embed_dim_per_stage": widths,
    }
    if not smallest:
        backbone |= {
            "blocks_per_stage": [2, 6, 36, 4],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "window_size_per_stage": [8, 4, 16, 8],
            "global_attention_blocks": [23, 33, 43],
        }
    config = transformers.Sam2VideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": backbone,
            "backbone_channel_list": widths[::-1],
            "backbone_feature_sizes": [[side // n] * 2 for n in (4, 8, 16)],
        },
        prompt_encoder_config={"image_size": side},
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
    )
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.Sam2VideoModel._from_config(config, dtype=dtype)
    size = {"height": side, "width": side}
    mask_size = {"height": side // 4, "width": side // 4}
    processor = transformers.Sam2VideoProcessor(
        transformers.Sam2ImageProcessor(size=size, mask_size=mask_size),
        transformers.Sam2VideoVideoProcessor(size=size),
    )
    return TransformersSam2(model, processor, name="random SAM 2.1")


def save_random_detector(folder: Path, smallest: bool) -> None:
    """RT-DETRv2 with a ResNet-50, as `PekingU/rtdetr_v2_r50vd` has it."""
    import transformers
    from transformers.models.rt_detr import RTDetrResNetConfig

    config = transformers.RTDetrV2Config()
    size = {"height": 640, "width": 640}
    if smallest:
        backbone = RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16, 24, 32],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )
        config = transformers.RTDetrV2Config(
            backbone_config=backbone, encoder_in_channels=[16, 24, 32], num_queries=20
        )
        size = {"height": 64, "width": 64}
    with contextlib.redirect_stderr(io.StringIO()):  # Its progress bar.
        transformers.RTDetrV2ForObjectDetection(config).save_pretrained(folder)
    transformers.RTDetrImageProcessor(size=size).save_pretrained(folder)


def _clock(device: str) -> Callable[[], float]:
    """Seconds, behind everything that the device still has to do."""
    import torch

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    return now
