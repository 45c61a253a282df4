"""Miniature copies of the benchmarks' layouts, over rendered clips whose truth is known."""

import json

from stvg_r1_hub.evaluation.sprites.clips import (
    SIDE,
    clip_scene,
    frame_times,
    true_tube,
    write_clip,
)


def write_videos(folder, n, suffix=".mp4", seed=21):
    """`n` clips as `<i>_clip<suffix>`; their scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [clip_scene("easy", seed, i) for i in range(n)]
    for i, scene in enumerate(scenes):
        write_clip(scene, folder / f"{i}_clip{suffix}")
    return scenes


def xywh(box):
    x1, y1, x2, y2 = (float(v) for v in box)
    return [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]


def hcstvg(scenes, *, version=2, first_frame_number=1):
    """The JSON values of an HC-STVG annotation file."""
    records = {}
    for i, scene in enumerate(scenes):
        tube = true_tube(scene)
        event = scene.answer_event
        record = {
            "bbox": [xywh(box) for box in tube.values()],
            "st_frame": min(tube) + first_frame_number,
            "st_time": event.start_seconds,
            "ed_time": event.end_seconds,
            "img_num": len(frame_times(scene)),
        }
        if version == 1:
            record |= {"caption": scene.query, "width": SIDE, "height": SIDE}
        else:
            record |= {"English": scene.query, "img_size": [SIDE, SIDE]}
        records[f"{i}_clip.mp4"] = record
    return records


def vidstg(scenes):
    """The JSON values of a VidSTG annotation file in TubeDETR's form."""
    videos, trajectories = [], {}
    for i, scene in enumerate(scenes):
        tube = true_tube(scene)
        videos.append(
            {
                "video_id": 100 + i,
                "original_video_id": f"{i}_clip",
                "caption": scene.query,
                "qtype": ("declarative", "interrogative")[i % 2],
                "fps": scene.fps,
                "frame_count": len(frame_times(scene)),
                "start_frame": 2 if i % 2 else 0,
                "end_frame": len(frame_times(scene)),
                "tube_start_frame": min(tube),
                "tube_end_frame": max(tube) + 1,
                "target_id": scene.target_id,
                "width": SIDE,
                "height": SIDE,
            }
        )
        boxes = {str(frame): {"bbox": xywh(box)} for frame, box in tube.items()}
        trajectories[f"{i}_clip"] = {str(scene.target_id): boxes}
    return {"videos": videos, "trajectories": trajectories}


def write_json(path, values):
    path.write_text(json.dumps(values), encoding="utf-8")
    return path
