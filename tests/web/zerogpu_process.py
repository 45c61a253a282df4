"""A question through ZeroGPU's own process handling, on a machine without a GPU.

Run as a script. The worker is really forked and everything really crosses to it and back; only
what talks to the Space's scheduler and to CUDA is replaced, because neither is here.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from dataclasses import replace

import numpy as np
import spaces  # noqa: F401  (first, as on a Space)
from spaces.zero import api, wrappers

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.errors import Cancelled
from stvg_r1_hub.web import zerogpu, zerogpu_tracking

asked_seconds: list[float] = []


def schedule(*, duration, **unused):
    asked_seconds.append(duration.total_seconds())
    return api.ScheduleResponse(idle=False, nvidiaIndex=0, nvidiaUUID="none", allowToken="x")


def nothing(*unused, **also_unused):
    return None


wrappers.client.schedule = schedule
wrappers.client.release = wrappers.client.allow = nothing
for name in ("init", "move", "unpatch", "enter_mode"):
    setattr(wrappers.torch, name, nothing)
wrappers.torch.size = lambda: 0
for module, name, seconds in (
    (zerogpu, "_answer_on_gpu", zerogpu.gpu_seconds),
    (zerogpu_tracking, "_track_on_gpu", zerogpu_tracking._tracking_seconds),
    (zerogpu_tracking, "_segment_on_gpu", zerogpu_tracking._masking_seconds),
):
    plain = getattr(module, name)
    setattr(module, name, wrappers.generator_function_wrapper(plain, seconds, None))
# The bundled detector needs no GPU; here it is treated as one that does.
zerogpu_tracking.runs_on_cpu = lambda tracker: False


class HalfBoxes:
    """A segmenter without weights: the upper half of every box."""

    name = "half boxes"

    def open(self, height, width, n_frames):
        return HalfBoxSession(height, width)


class HalfBoxSession:
    def __init__(self, height, width):
        self.height, self.width = height, width

    def add(self, object_id, *, box):
        mask = np.zeros((self.height, self.width), bool)
        left, top, right, bottom = (round(float(v)) for v in box)
        mask[top : (top + bottom) // 2, left:right] = True
        return mask

    def next_frame(self, pixels):
        return {}

    def drop(self, object_id):
        pass


class Patient:
    """Writes on after a text only when that has come across the border."""

    def __init__(self, vlm):
        self.vlm, self.encode, self.taken = vlm, vlm.encode, multiprocessing.Event()

    def generate(self, prompts, video, *, on_text, **options):
        def tell(i, text):
            on_text(i, text)
            assert self.taken.wait(60), "the first text waits for the others"

        return self.vlm.generate(prompts, video, on_text=tell, **options)


def main(clip: str, query: str) -> None:
    reading = STVGPipeline.from_pretrained("tiny")
    # Every question is one of the model that crosses the border.
    config = replace(reading.config, reads_notes=False)
    here = STVGPipeline(config, reading.tracker, reading.vlm.sight, segmenter=HalfBoxes())
    patient = Patient(here.vlm)
    several, taken = zerogpu_tracking.adapt("patient", here.replace(vlm=patient)), {}

    def take(i, result):
        taken[i] = result
        patient.taken.set()

    with several.open(clip) as opened:
        one_by_one = opened.ground([query, "the frog jumping", "the sheep"], on_result=take)
    adapted = zerogpu_tracking.adapt("tiny", here)
    direct = here(query, clip)
    steps: list[tuple[str, int]] = []
    result = adapted(query, clip, progress=lambda stage, done, total: steps.append((stage, done)))

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage in ("start", "answer"):
            raise Cancelled("enough")

    try:
        adapted(query, clip, progress=stop)
        cancelled = False
    except Cancelled:
        cancelled = True
    masked, masked_here = adapted(query, clip, masks=True), here(query, clip, masks=True)
    values = {
        "same_tracks": repr(result.tracks) == repr(direct.tracks) and result.boxes == direct.boxes,
        "same_masks": masked.masks == masked_here.masks and any(masked.masks),
        "one_by_one": [taken[i] for i in range(3)] == one_by_one,
        "same": result.raw_text == direct.raw_text == one_by_one[0].raw_text,
        "found": result.found,
        "stages": sorted({stage for stage, _ in steps}),
        "asked_seconds": asked_seconds,
        "cancelled": cancelled,
        "again": adapted(query, clip).raw_text == direct.raw_text,
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main(*sys.argv[1:])
