"""Checks of video_sampling.json and mrope_positions.json."""

import dataclasses
import functools
from types import SimpleNamespace

import numpy as np

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.video import plan_sampling
from stvg_r1_hub.video.sampling import pixel_limits
from stvg_r1_hub.vlm.positions import mrope_positions
from tests.golden.compare import cases_of, differences, need

PATCH, MERGE, TEMPORAL_PATCH = 14, 2, 2
# What qwen-vl-utils 0.0.14 takes where a message does not say: 128 tokens at least per frame,
# 128000 tokens x 0.9 for the clip.
LIBRARY = SamplingConfig(
    min_pixels=128 * 28 * 28, total_pixels=int(128_000 * 28 * 28 * 0.9), max_pixels=None
)
TEXT, START, END, VIDEO = 0, 1, 2, 3


def check_sampling(data, folder, where):
    """Frames, size, token grid and clock of every video, or the error."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        names = ("n_frames", "native_fps", "width", "height", "video_options")
        video = [need(case, name, here) for name in names]
        expected = need(case, "expected", here)
        yield (
            str(case.get("name", i)),
            lambda expected=expected, video=video: differences(expected, _plan(*video, expected)),
        )


def _plan(n_frames, native_fps, width, height, options, expected):
    names = {field.name for field in dataclasses.fields(SamplingConfig)}
    sampling = dataclasses.replace(LIBRARY, **{k: v for k, v in options.items() if k in names})
    try:
        plan = plan_sampling(
            n_frames,
            native_fps,
            width,
            height,
            sampling,
            n_sampled=options.get("nframes"),
            start_seconds=options.get("video_start"),
            end_seconds=options.get("video_end"),
        )
    except ValueError:
        return {"error": "ValueError"}
    count = len(plan.frame_indices)
    least, most = pixel_limits(count, sampling)
    grid = [count // TEMPORAL_PATCH, plan.model_height // PATCH, plan.model_width // PATCH]
    got = {
        "nframes": count,
        "frame_indices": list(plan.frame_indices),
        "resized_height": plan.model_height,
        "resized_width": plan.model_width,
        "per_frame_min_pixels": least,
        "per_frame_max_pixels": most,
        "video_grid_thw": grid,
        "n_video_tokens": int(np.prod(grid)) // MERGE**2,
        "sample_fps": plan.sample_fps,
        "second_per_grid_ts": TEMPORAL_PATCH / plan.sample_fps,
        "transformers5_sampled_fps_with_metadata": plan.sample_fps,
    }
    if "checked_with_video_processor" in expected:
        # Says that a processor really cut the frames into this grid: the size must be whole.
        got["checked_with_video_processor"] = (
            plan.model_height == grid[1] * PATCH and plan.model_width == grid[2] * PATCH
        )
    return got


def check_positions(data, folder, where):
    """Our rule (4.50), and the installed transformers for the 5.23 column where it is 5.23."""
    fields = ("n_prefix_text_tokens", "n_suffix_text_tokens", "video_grid_thw", "sample_fps")
    fields += ("second_per_grid_ts", "tokens_per_second")
    columns = (
        "expected_transformers_4_50",
        "expected_transformers_4_50_without_second_per_grid_ts",
        "expected_transformers_5_23",
    )
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        inputs = {field: need(case, field, here) for field in fields}
        expected = {column: need(case, column, here) for column in columns}
        yield (
            str(case.get("name", i)),
            lambda inputs=inputs, expected=expected: _positions(inputs, expected),
        )


def _positions(inputs, expected):
    grid, seconds = inputs["video_grid_thw"], inputs["second_per_grid_ts"]
    n_video = int(np.prod(grid)) // MERGE**2
    prefix, suffix = inputs["n_prefix_text_tokens"], inputs["n_suffix_text_tokens"]
    ids = np.array([TEXT] * prefix + [START] + [VIDEO] * n_video + [END] + [TEXT] * suffix)
    ours = functools.partial(
        mrope_positions, ids, [grid], video_token_id=VIDEO,
        tokens_per_second=inputs["tokens_per_second"], merge_size=MERGE,
    )  # fmt: skip
    got = {
        "expected_transformers_4_50": _summary(*ours([seconds]), prefix, grid),
        "expected_transformers_4_50_without_second_per_grid_ts": _summary(*ours(), prefix, grid),
    }
    problems = differences(TEMPORAL_PATCH / inputs["sample_fps"], seconds, "second_per_grid_ts")
    if installed_is_5_23():
        theirs = _installed_positions(ids, grid, seconds, inputs["tokens_per_second"])
        got["expected_transformers_5_23"] = _summary(*theirs, prefix, grid)
    else:
        expected = {key: value for key, value in expected.items() if key in got}
    return problems + differences(expected, got)


def _summary(positions, delta, prefix, grid):
    steps, rows, columns = grid[0], grid[1] // MERGE, grid[2] // MERGE
    first = prefix + 1
    video = positions[:, first : first + steps * rows * columns]
    video = video.reshape(3, steps, rows, columns)
    return {
        "first_text_position": int(positions[0, 0]),
        "vision_start_position": positions[:, prefix].tolist(),
        "temporal_ids_per_grid_frame": video[0, :, 0, 0].tolist(),
        "height_ids_first_column": video[1, 0, :, 0].tolist(),
        "width_ids_first_row": video[2, 0, 0, :].tolist(),
        "vision_end_position": positions[:, first + video[0].size].tolist(),
        "last_position": positions[:, -1].tolist(),
        "mrope_position_delta": int(delta),
    }


@functools.cache
def installed_is_5_23():
    """The 5.23 column is not our rule; it can be checked with that very release only."""
    import transformers

    return transformers.__version__.startswith("5.23.")


def _installed_positions(ids, grid, seconds, tokens_per_second):
    import torch
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    vision = SimpleNamespace(spatial_merge_size=MERGE, tokens_per_second=tokens_per_second)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.get_vision_position_ids = functools.partial(
        Qwen2_5_VLModel.get_vision_position_ids, model
    )
    tokens = torch.from_numpy(ids)[None]
    positions, delta = Qwen2_5_VLModel.get_rope_index(
        model,
        tokens,
        (tokens == VIDEO).int() * 2,
        video_grid_thw=torch.tensor([grid]),
        second_per_grid_ts=torch.tensor([seconds]),
    )
    return positions[:, 0].numpy(), int(delta[0, 0])
