"""A prepared folder made by hand: small clips of noise whose query tells the right answer."""

import json

import numpy as np

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.structures import Tracks
from stvg_r1_hub.tracking import save_tracks
from tests.builders import make_track
from tests.train.tiny import BUNDLE
from train.data.samples import FRAMES, MIRRORED, SAMPLES, SETTINGS, TRACKS, write_frames


def write_prepared(folder, *, n=6, object_id=None, mirrored=False, query=None, frames=4, first=0):
    """`n` samples, from `first` on; sample i asks for `object_id`, or i % 3 + 1, in own words."""
    size = (56, 56)
    folder.mkdir(parents=True)
    STVGConfig.load(BUNDLE).save(folder)
    (folder / SETTINGS).write_text("{}")
    lines = []
    for i in range(first, first + n):
        video = folder / "videos" / f"v{i}"
        video.mkdir(parents=True)
        noise = np.random.default_rng(i).integers(0, 256, (frames, *size, 3), dtype=np.uint8)
        write_frames(video / FRAMES, noise)
        if mirrored:
            write_frames(video / MIRRORED, noise[:, :, ::-1])
        right = object_id or i % 3 + 1
        native = np.arange(20)
        track = make_track(right, native, [0, 0, 9, 9])
        save_tracks(Tracks(100, 100, native / 10, (track,)), video / TRACKS)
        lines.append(
            {
                "sample_id": f"v{i}",
                "folder": f"v{i}",
                "query": query or f"the dog {'abcdef'[i % 6]} on the left",
                "mirrored_query": f"the dog {'abcdef'[i % 6]} on the right",
                "object_ids": [right],
                "start_seconds": 0.5,
                "end_seconds": 1.5,
                "duration_seconds": 2.0,
                "sample_fps": 2.0,
                "n_frames": frames,
                "boxes": {str(frame): [0, 0, 9, 9] for frame in range(5, 15)},
            }
        )
    (folder / SAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
