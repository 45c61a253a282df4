"""Boxes of an answer in the formats that other tools read: CSV, MOTChallenge, COCO and tables."""

from stvg_r1_hub.exports.formats import (
    coco_text,
    csv_text,
    data_frame,
    mot_text,
    supervision_detections,
)

__all__ = ["coco_text", "csv_text", "data_frame", "mot_text", "supervision_detections"]
