"""A question through ZeroGPU's own process handling, on a machine without a GPU.

Run as a script. The worker is really forked and everything really crosses to it and back; only
what talks to the Space's scheduler and to CUDA is replaced, because neither is here.
"""

from __future__ import annotations

import json
import os
import sys

import spaces  # noqa: F401  (first, as on a Space)
from spaces.zero import api, wrappers

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.errors import Cancelled
from stvg_r1_hub.web import zerogpu

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
zerogpu._answer_on_gpu = wrappers.generator_function_wrapper(
    zerogpu._answer_on_gpu, zerogpu.gpu_seconds, None
)


def main(clip: str, query: str) -> None:
    here = STVGPipeline.from_pretrained("tiny")
    borrowed = zerogpu.adapt("tiny", here)
    direct = here(query, clip)
    steps: list[tuple[str, int]] = []
    result = borrowed(query, clip, progress=lambda stage, done, total: steps.append((stage, done)))

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage in ("start", "answer"):
            raise Cancelled("enough")

    try:
        borrowed(query, clip, progress=stop)
        cancelled = False
    except Cancelled:
        cancelled = True
    values = {
        "pid_of_this_process": os.getpid(),
        "same": result.raw_text == direct.raw_text,
        "found": result.found,
        "stages": sorted({stage for stage, _ in steps}),
        "asked_seconds": asked_seconds,
        "cancelled": cancelled,
        "again": borrowed(query, clip).raw_text == direct.raw_text,
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main(*sys.argv[1:])
