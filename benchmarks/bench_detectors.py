"""Detectors that a CPU could take: processor milliseconds a frame, by batch, with one thread.

    python -m benchmarks.bench_detectors [--video VIDEO] [--rounds 5]

The bundled COCO detector against DEIMv2-N, run by transformers and as an ONNX export. DEIMv2-N
has its real shape and random weights, so no download is needed; its boxes mean nothing. Rounds
alternate between all rows, and each row's median counts. Needs onnx.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.tracking.detectors import TransformersDetector
from stvg_r1_hub.tracking.onnx_detector import COCO_FOLDER, OnnxDetector
from stvg_r1_hub.video import open_video

BATCHES = (1, 4, 8)
SIDE = 640


def deimv2_n() -> Any:
    """The network of Intellindust/DEIMv2_HGNetv2_N_COCO with random weights."""
    from transformers import Deimv2Config, Deimv2ForObjectDetection, HGNetV2Config

    backbone = HGNetV2Config(
        stem_channels=[3, 16, 16],
        hidden_sizes=[128, 256, 512, 1024],
        depths=[3, 4, 6, 3],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
        use_learnable_affine_block=True,
        out_indices=[3, 4],
    )
    config = Deimv2Config(
        backbone_config=backbone,
        encoder_in_channels=[512, 1024],
        feat_strides=[16, 32],
        encoder_hidden_dim=128,
        encode_proj_layers=[1],
        encoder_ffn_dim=512,
        hidden_expansion=0.34,
        depth_mult=0.5,
        d_model=128,
        decoder_in_channels=[128, 128],
        num_feature_levels=2,
        decoder_n_points=[6, 6],
        decoder_ffn_dim=512,
        decoder_layers=3,
        num_labels=80,
    )
    torch.manual_seed(0)
    return Deimv2ForObjectDetection(config).eval()


def saved(model: Any, folder: Path) -> Path:
    """The model as a folder that `TransformersDetector` loads."""
    from transformers import RTDetrImageProcessor

    model.save_pretrained(folder)
    RTDetrImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


class Exported(torch.nn.Module):
    """Pictures in, logits and boxes out: what an export needs of the model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.model(pixel_values=images)
        return found.logits, found.pred_boxes


def export(model: Any, path: Path) -> Callable[[Sequence[Pixels]], Any]:
    """A network of ONNX Runtime with a free batch, which takes frames as they are."""
    import cv2
    import onnxruntime

    # Tracing: the newer exporter knows no `_is_all_true`, with which the model checks its shapes.
    torch.onnx.export(
        Exported(model),
        (torch.zeros(2, 3, SIDE, SIDE),),
        str(path),
        input_names=["images"],
        dynamic_axes={"images": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)

    def run(frames: Sequence[Pixels]) -> Any:
        pictures = [cv2.resize(f, (SIDE, SIDE)).transpose(2, 0, 1) for f in frames]
        return session.run(None, {"images": np.stack(pictures).astype(np.float32) / 255})

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--video", type=Path, help="frames of this; noise of 768x576 without")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.video:
        with open_video(args.video) as source:
            frames = [frame.pixels for frame in source.stream(range(max(BATCHES)))]
    else:
        frames = list(np.random.default_rng(0).integers(0, 255, (8, 576, 768, 3), np.uint8))
    model = deimv2_n()
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"DEIMv2-N: {size:.2f} million parameters", flush=True)
    rows: dict[tuple[str, int], Callable[[Sequence[Pixels]], Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundled = OnnxDetector(COCO_FOLDER, threads=1)
        theirs = TransformersDetector(saved(model, Path(folder) / "deimv2"))
        exported = export(model, Path(folder) / "deimv2.onnx")
        for batch in BATCHES:
            rows["bundled COCO detector", batch] = bundled.detect
            rows["DEIMv2-N, transformers", batch] = theirs.detect
            rows["DEIMv2-N, ONNX Runtime", batch] = exported
        took: dict[tuple[str, int], list[float]] = {row: [] for row in rows}
        for turn in range(args.rounds + 1):
            for row, run in rows.items():
                begin = time.process_time()
                run(frames[: row[1]])
                if turn:  # The first warms up.
                    took[row].append(1000 * (time.process_time() - begin) / row[1])
    print("| detector | " + " | ".join(f"batch {n}" for n in BATCHES) + " |")
    print("|---" * (1 + len(BATCHES)) + "|")
    for name in dict.fromkeys(name for name, _ in rows):
        print(f"| {name} | " + " | ".join(f"{median(took[name, n]):.0f}" for n in BATCHES) + " |")


if __name__ == "__main__":
    main()
