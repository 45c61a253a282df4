"""The whole road on twelve small clips: prepare, GRPO with validation, evaluate, as a user would.

    python -m train.smoke --out runs/smoke

The clips are rendered, and lie as HC-STVG does: `train_v2.json` with eight of them, `val_v2.json`
with four, and `videos/`. The bundled model takes four steps, which teach it nothing; what is shown
is that every command works on this machine. Each is printed before it runs, so it can be repeated
with clips and a model of one's own. Takes less than five minutes on two processor cores.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stvg_r1_hub.errors import ConfigError, STVGError
from stvg_r1_hub.outputs import make_folder
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, frame_times, true_tube, write_clip
from stvg_r1_hub.sprites.scene import Scene

TRAINED, HELD_OUT = 8, 4
SEED = 77
TINY = Path(__file__).parent / "configs" / "tiny.yaml"
SETTINGS: dict[str, Any] = {
    "model": "tiny", "max_steps": 4, "warmup_steps": 0, "accumulation": 2, "num_generations": 4,
    "save_every": 2, "validate_every": 2, "table_every": 2, "trackers": [],
}  # fmt: skip
"""What is other than in `configs/tiny.yaml`."""


class SmokeError(STVGError):
    """A command of the road did not end well; its own message was printed."""


def hcstvg_record(scene: Scene) -> dict[str, Any]:
    """A clip's record as HC-STVG v2 writes it; frames count from 1."""
    if scene.answer_range is None:
        raise ConfigError(f"Nothing in the clip is {scene.query!r}, which HC-STVG cannot say.")
    tube = true_tube(scene)
    boxes = [[float(v) for v in (x1, y1, x2 - x1, y2 - y1)] for x1, y1, x2, y2 in tube.values()]
    return {
        "bbox": boxes,
        "st_frame": min(tube) + 1,
        "st_time": scene.answer_range[0],
        "ed_time": scene.answer_range[1],
        "img_num": len(frame_times(scene)),
        "img_size": [SIDE, SIDE],
        "English": scene.query,
    }


def write_benchmark(out: Path) -> None:
    """The two annotation files and the videos."""
    make_folder(out / "videos")
    scenes = [clip_scene("easy", SEED, number) for number in range(TRAINED + HELD_OUT)]
    records = {f"{i:02d}_clip.mp4": hcstvg_record(scene) for i, scene in enumerate(scenes)}
    for name, scene in zip(records, scenes, strict=True):
        write_clip(scene, out / "videos" / name)
    names = list(records)
    for split, part in (("train", names[:TRAINED]), ("val", names[TRAINED:])):
        path = out / f"{split}_v2.json"
        path.write_text(json.dumps({name: records[name] for name in part}), encoding="utf-8")


def road(out: Path) -> list[list[str]]:
    """The commands, in their order."""
    prepare = ["train.prepare", "--dataset", "hcstvg", "--videos", f"{out}/videos",
               "--model", "tiny", "--classes", "all"]  # fmt: skip
    return [
        [*prepare, "--annotations", f"{out}/train_v2.json", "--out", f"{out}/prepared"],
        [*prepare, "--annotations", f"{out}/val_v2.json", "--out", f"{out}/held_out"],
        ["train.train_grpo", "--config", f"{out}/config.yaml", "--data", f"{out}/prepared",
         "--validation", f"{out}/held_out", "--out", f"{out}/run"],
        ["stvg_r1_hub.cli", "eval", "hcstvg-v2", "--annotations", f"{out}/val_v2.json",
         "--videos", f"{out}/videos", "--classes", "all", "--model", f"{out}/run/model",
         "--out", f"{out}/results"],
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/smoke"), help="a new folder")
    out: Path = parser.parse_args(arguments).out
    try:
        if out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out} is not empty; name another --out, or delete it.")
        write_benchmark(out)
        values = {**yaml.safe_load(TINY.read_text(encoding="utf-8")), **SETTINGS}
        (out / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        for command in road(out):
            print(f"\n$ python -m {shlex.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
                raise SmokeError(f"python -m {shlex.join(command)} failed; see above.")
    except STVGError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(f"\nThe road is open. Trained model: {out}/run/model, results: {out}/results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
