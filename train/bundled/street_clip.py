"""Cut the package's real clip out of OpenCV's sample `vtest.avi`.

    python -m train.bundled.street_clip /usr/share/doc/opencv-doc/examples/data/vtest.avi

The video comes with Debian's package `opencv-doc`; size and rate stay as they are. In these eight
seconds one person alone walks to the left, and whoever leaves does so one after the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stvg_r1_hub.examples import FOLDER
from stvg_r1_hub.video import open_video, write_video

FRAMES = range(320, 400)
"""Native frames, counted from 0."""
RATE_FACTOR = 26
"""Of libx264: 330 KB, and the bundled detector finds the same people as in the original."""


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("video", type=Path, help="vtest.avi, 768x576 at 10 frames a second")
    parser.add_argument("--out", type=Path, default=FOLDER / "street.mp4")
    args = parser.parse_args()
    with open_video(args.video) as source:
        first, last = FRAMES[0], FRAMES[-1] + 1
        times = source.info.frame_times[first : last + 1] - source.info.frame_times[first]
        write_video(
            args.out,
            (frame.pixels for frame in source.stream(FRAMES)),
            times[:-1].tolist(),
            duration_seconds=float(times[-1]),
            rate_factor=RATE_FACTOR,
        )


if __name__ == "__main__":
    main()
