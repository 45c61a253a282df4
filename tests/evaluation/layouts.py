"""Miniature copies of the benchmarks' layouts, over rendered clips whose truth is known."""

import json

import numpy as np

from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.sprites.clips import (
    SIDE,
    clip_scene,
    frame_times,
    true_tube,
    write_clip,
)
from stvg_r1_hub.sprites.render import render, true_boxes
from stvg_r1_hub.structures import Track, Tracks
from stvg_r1_hub.tracking import save_tracks
from train.smoke import hcstvg_record


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
        record = hcstvg_record(scene) | {"st_frame": min(true_tube(scene)) + first_frame_number}
        if version == 1:
            del record["English"], record["img_size"]
            record |= {"caption": scene.query, "width": SIDE, "height": SIDE}
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


def stalign(scenes):
    """The JSON values of ST-Align's stvg.json."""
    records = []
    for i, scene in enumerate(scenes):
        tube = true_tube(scene)
        records.append(
            {
                "video_path": f"{i}_clip.mp4",
                "conversations": [
                    {"from": "human", "value": f"<video>\n{scene.query}"},
                    {"from": "gpt", "value": "From <s> to <e>, <bboxes>"},
                ],
                "meta": {
                    "width": SIDE,
                    "height": SIDE,
                    "split": [0, len(frame_times(scene)) - 1],
                    "time_token": {"<s>": min(tube), "<e>": max(tube)},
                    "spatial_token": {
                        "<bboxes>": {str(frame): xywh(box) for frame, box in tube.items()}
                    },
                },
            }
        )
    return records


def charades_lines(scenes):
    """The text of a Charades-STA file."""
    return "".join(
        f"{i}_clip {s.answer_range[0]} {s.answer_range[1]}##{s.query}.\n"
        for i, s in enumerate(scenes)
    )


def charades_json(scenes):
    """The same in Time-R1's JSON form."""
    return {
        f"{i}_clip": {
            "duration": s.duration_seconds,
            "timestamps": [list(s.answer_range)],
            "sentences": [s.query],
        }
        for i, s in enumerate(scenes)
    }


def timelens(scenes):
    """The JSON values of a file of TimeLens-Bench."""
    return {
        f"{i}_clip": {
            "duration": s.duration_seconds,
            "spans": [list(s.answer_range)],
            "queries": [f"{s.query}."],
        }
        for i, s in enumerate(scenes)
    }


def qvhighlights_lines(scenes):
    """The text of a QVHighlights split; the first sample has two windows."""
    lines = []
    for i, scene in enumerate(scenes):
        start, end = scene.answer_range
        third = (end - start) / 3
        windows = [[start, start + third], [end - third, end]] if i == 0 else [[start, end]]
        record = {"qid": 70 + i, "query": scene.query, "vid": f"{i}_clip",
                  "duration": scene.duration_seconds, "relevant_windows": windows}  # fmt: skip
        lines.append(json.dumps(record) + "\n")
    return "".join(lines)


def seconds_of(scene):
    """Frame and true box nearest to each whole second of the event; at least one."""
    tube, fps = true_tube(scene), scene.fps
    frames = [round(second * fps) for second in range(1 + int(scene.duration_seconds))]
    found = {frame: tube[frame] for frame in frames if frame in tube}
    return found or dict([next(iter(tube.items()))])


def vstar(scenes):
    """The JSON values of V-STaR."""
    records = []
    for i, scene in enumerate(scenes):
        boxes = [
            {"timestamp": round(frame / scene.fps), "frame_index": frame,
             **dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, box), strict=True))}
            for frame, box in seconds_of(scene).items()
        ]  # fmt: skip
        records.append(
            {
                "vid": f"{i}_clip",
                "domain": "sprites",
                "fps": scene.fps,
                "width": SIDE,
                "height": SIDE,
                "frame_count": len(frame_times(scene)),
                "question": "What is it?",
                "answer": "an emoji",
                "temporal_question": scene.query,
                "timestamps": list(scene.answer_range),
                "spatial_question": scene.query,
                "spatial_question_2": scene.query,
                "bboxes": boxes,
            }
        )
    return records


def anyground(scenes):
    """The JSON values of AnyGroundBench's st_test.json."""
    return {
        f"sprites_{i}": {
            "video_name": f"{i}_clip",
            "text": scene.query,
            "temporal_range": "{} {}".format(*scene.answer_range),
            "fps1_timestamp_0_1000_st_demonstration": {
                "tubes": [
                    {
                        "bbox": {
                            str(frame / scene.fps): [round(1000 * float(v) / SIDE) for v in box]
                            for frame, box in seconds_of(scene).items()
                        }
                    }
                ]
            },
        }
        for i, scene in enumerate(scenes)
    }


def tvgbench(scenes):
    """The JSON values of TVGBench; the second item shows only a part of its video."""
    items = []
    for i, scene in enumerate(scenes):
        start, end = scene.answer_range
        shown = 0.25 if i == 1 else 0.0
        item = {
            "path": f"{i}_clip.mp4",
            "question": scene.query,
            "answer": f"{start - shown}-{end - shown}",
            "duration": scene.duration_seconds - shown,
        }
        if shown:
            item |= {"start": shown, "end": scene.duration_seconds}
        items.append(item)
    return items


MEVIS_FPS = 5


def mevis(folder, scenes):
    """A MeViS split folder, and a folder of prepared tracks with masks; both are returned."""
    from PIL import Image

    meta, masks = {}, {}
    (folder / "tracks").mkdir(parents=True)
    for i, scene in enumerate(scenes):
        video = f"vid{i:03d}"
        times = np.arange(int(scene.duration_seconds * MEVIS_FPS)) / MEVIS_FPS
        pictures = folder / "valid_u/JPEGImages" / video
        pictures.mkdir(parents=True)
        for t, frame in enumerate(render(scene, SIDE, times.tolist())):
            Image.fromarray(frame).save(pictures / f"{t:05d}.jpg", quality=92)
        tracks = []
        for thing in scene.objects:
            boxes, _ = true_boxes(thing, scene.poses(thing, times), SIDE)
            runs = tuple(filled(box) for box in boxes)
            masks[str(10 * i + thing.object_id)] = list(runs)
            everywhere, flags = np.arange(len(times)), np.zeros(len(times), bool)
            tracks.append(Track(thing.object_id, thing.kind, 1.0, everywhere, boxes, flags, runs))
        save_tracks(Tracks(SIDE, SIDE, times, tuple(tracks)), folder / f"tracks/{video}.json")
        names = [f"{t:05d}" for t in range(len(times))]
        target = {"exp": scene.query, "obj_id": [0], "anno_id": [10 * i + scene.target_id]}
        everything = {
            "exp": "all objects",
            "obj_id": list(range(len(scene.objects))),
            "anno_id": [10 * i + thing.object_id for thing in scene.objects],
        }
        meta[video] = {"frames": names, "expressions": {"0": target, "1": everything}}
    write_json(folder / "valid_u/meta_expressions.json", {"videos": meta})
    write_json(folder / "valid_u/mask_dict.json", masks)
    return folder / "valid_u", folder / "tracks"


def mevis_v2(split):
    """A split of MeViS as one of version 2: beside version 1, with a sentence without a target."""
    meta = json.loads((split / "meta_expressions.json").read_text())
    for record in meta["videos"].values():
        record["expressions"]["2"] = {"exp": "the walking elephant", "obj_id": [], "anno_id": []}
    write_json(split / "meta_expressions_v2.json", meta)


def filled(box):
    left, top, right, bottom = (round(float(v)) for v in box)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top:bottom, left:right] = True
    return encode_mask(mask)
