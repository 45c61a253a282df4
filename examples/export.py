"""An answer and its tracks as files: `python examples/export.py [FOLDER]`.

answer.json    everything that was found, for programs
answer.mp4     the video with the answer drawn on it
answer.png     key frames
timeline.png   when each object is seen
boxes.csv      a line a box
mot.txt        the same for tools of MOTChallenge
coco.json      the same for tools of COCO
tracks.json    all objects; `tracker="tracks.json"` takes them instead of tracking anew
"""

import sys
from pathlib import Path

from stvg_r1_hub import STVGPipeline, example_video
from stvg_r1_hub.tracking import save_tracks


def main(folder: str = "outputs/export") -> None:
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    street = example_video("street")
    result = STVGPipeline.from_pretrained("tiny")("the person walking to the left", street)
    result.to_json(out / "answer.json")
    result.save_video(out / "answer.mp4")
    result.keyframes(out / "answer.png")
    result.plot(out / "timeline.png")
    result.to_csv(out / "boxes.csv")
    result.to_mot(out / "mot.txt")
    result.to_coco(out / "coco.json")
    save_tracks(result.tracks, out / "tracks.json")

    again = STVGPipeline.from_pretrained("tiny", tracker=out / "tracks.json")
    print("The same from saved tracks:", again("the person walking to the left", street))
    print(*sorted(path.name for path in out.iterdir()), f"are in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
