"""Train the small sprite-world detector and write it in the form that the tracker loads.

    python -m train.bundled.detector --out runs/detector --bundle stvg_r1_hub/bundled/tiny/detector

A dense one-stage detector (FCOS, arXiv 1904.01355: every cell near an object's centre predicts
class and distances to the four sides) because it learns this world in minutes on one CPU core;
DETR-like models of this size need hours. An interrupted run continues where it was. Prints average
precision, recall and milliseconds on unseen scenes of each level.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss
from tqdm import tqdm

from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.sprites.difficulty import HARD
from stvg_r1_hub.sprites.scene import KINDS
from train.bundled.detector_images import INPUT_SIDE, LEVEL_SHARES, Images, draw_image
from train.bundled.pretrain import HALF_IS_FAST

STRIDE = 8
CELLS = INPUT_SIDE // STRIDE
CENTER_RADIUS = 1.5 * STRIDE
"""Cells closer than this to an object's centre, and inside its box, are trained to report it."""
SAVE_EVERY = 250
"""Steps between two saved states."""
SCORE_THRESHOLD, NMS_IOU = 0.4, 0.5


class ConvBlock(nn.Sequential):
    """3 x 3 convolution, batch norm, SiLU."""

    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU()
        )


class SpriteDetector(nn.Module):
    """Images to boxes and scores; 0.8 M parameters."""

    centers: Tensor

    def __init__(self, n_classes: int = len(KINDS)) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            ConvBlock(3, 24, 2),
            ConvBlock(24, 48, 2),
            ConvBlock(48, 96, 2),
            ConvBlock(96, 96),
            ConvBlock(96, 96),
        )
        self.coarse = nn.Sequential(ConvBlock(96, 128, 2), ConvBlock(128, 128), ConvBlock(128, 96))
        self.merge = nn.Sequential(ConvBlock(96, 96), ConvBlock(96, 96))
        self.classes = nn.Conv2d(96, n_classes, 1)
        self.sides = nn.Conv2d(96, 4, 1)
        nn.init.constant_(self.classes.get_parameter("bias"), -4.0)
        centers = (torch.arange(CELLS) + 0.5) * STRIDE
        ys, xs = torch.meshgrid(centers, centers, indexing="ij")
        self.register_buffer("centers", torch.stack([xs, ys], -1).view(-1, 2), persistent=False)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits `(B, A, C)` and boxes `(B, A, 4)` xyxy in input pixels.

        Args:
            images: `(B, 3, 192, 192)` RGB in 0..255.
        """
        fine = self.fine(images / 127.5 - 1)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        features = self.merge(fine + coarse)
        logits = self.classes(features).flatten(2).transpose(1, 2)
        sides = F.softplus(self.sides(features).flatten(2).transpose(1, 2)) * (2 * STRIDE)
        boxes = torch.cat([self.centers - sides[..., :2], self.centers + sides[..., 2:]], -1)
        return logits, boxes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes `(B, A, 4)` and scores `(B, A, C)` in 0..1, before non-maximum suppression."""
        logits, boxes = self.raw(images)
        return boxes, logits.sigmoid()


def loss(model: SpriteDetector, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Quality focal loss on scores (arXiv 2006.04388) plus GIoU loss on boxes."""
    images, boxes, classes, owners = batch
    logits, predicted = model.raw(images.float())
    logits, predicted = logits.float(), predicted.float()
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    offset = (model.centers[None] - middle[:, None]).abs().amax(-1)
    inside = (
        (model.centers[None] > boxes[:, None, :2]) & (model.centers[None] < boxes[:, None, 2:])
    ).all(-1)
    box_index, cell = torch.nonzero(inside & (offset < CENTER_RADIUS), as_tuple=True)
    owner = owners[box_index]
    matched = predicted[owner, cell]
    wanted = boxes[box_index]
    target = torch.zeros_like(logits)
    quality = box_iou(matched.detach(), wanted).diagonal()
    target[owner, cell, classes[box_index]] = quality.clamp(min=0.05)
    weight = (target - logits.detach().sigmoid()).abs().square()
    score_loss = (
        F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight
    ).sum()
    box_loss: Tensor = generalized_box_iou_loss(matched, wanted, reduction="sum")
    return (score_loss + box_loss) / max(1, len(wanted))


def train(
    out: Path, steps: int, batch_size: int, *, workers: int = 1, start_from: Path | None = None
) -> SpriteDetector:
    """Train; the last weights stand in `out/detector.pt`.

    Args:
        out: folder of the run.
        steps: updates.
        batch_size: images an update.
        workers: rendering processes.
        start_from: weights of an earlier run; half the rate and other scenes are used then.

    Raises:
        SystemExit: the weights to start from are missing or of another detector.
    """
    torch.manual_seed(0)
    model = SpriteDetector()
    if start_from:
        try:
            model.load_state_dict(torch.load(start_from, weights_only=True))
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            sys.exit(f"Cannot start from {start_from}: {error}")
    model.to(memory_format=torch.channels_last)
    rate = 1.5e-3 if start_from else 3e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    parts: dict[str, nn.Module | Optimizer | LRScheduler] = {
        "model": model, "optimizer": optimizer, "schedule": schedule,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    state_path = out / "detector.state.pt"
    first = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        if state["steps"] != steps:
            sys.exit(f"{state_path} is of a run of {state['steps']} steps; delete it, or go on so.")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]
    loader = DataLoader(
        Images(5001 if start_from else 5000, batch_size, first=first * batch_size),
        batch_size=None,
        num_workers=workers,
        # OpenCV's and torch's threads do not survive a fork: the worker would wait for ever.
        multiprocessing_context="spawn" if workers else None,
    )
    stream = iter(loader)
    with (out / "detector.jsonl").open("a" if first else "w", encoding="utf-8") as log:
        bar = tqdm(range(first, steps), initial=first, total=steps, desc="detector")
        for step in bar:
            with torch.autocast("cpu", torch.bfloat16, enabled=HALF_IS_FAST):
                value = loss(model, next(stream))
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{value.item():.3f}")
                log.write(json.dumps({"step": step, "loss": round(value.item(), 4)}) + "\n")
                log.flush()
            if (step + 1) % SAVE_EVERY == 0:
                state = {name: part.state_dict() for name, part in parts.items()}
                with replacing(state_path) as temporary:
                    torch.save({**state, "step": step + 1, "steps": steps}, temporary)
    with replacing(out / "detector.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    state_path.unlink(missing_ok=True)
    return model


def evaluate(
    model: SpriteDetector, level: str, n_images: int = 300, seed: int = 6000
) -> dict[str, float]:
    """Average precision, recall and precision, mean IoU, and ms an image, on unseen scenes.

    `map_50` and `map_50_95` are COCO's, over all kinds that occur. Recall, precision and the mean
    IoU of what was found are at IoU 0.5 and the shipped score threshold; a box of the wrong kind
    counts as missing and as wrong.
    """
    from supervision import Detections
    from supervision.metrics import MeanAveragePrecision

    model.eval()
    average_precision = MeanAveragePrecision()
    found = wanted_total = reported = 0
    overlaps: list[float] = []
    seconds = 0.0
    for number in range(n_images):
        image, boxes, classes = draw_image((seed, number), level=level)
        begun = time.perf_counter()
        with torch.inference_mode():
            predicted, scores = model(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        seconds += time.perf_counter() - begun
        best, kinds = scores[0].max(-1)
        kept = torch.nonzero(best > 0.02)[:, 0]
        kept = kept[batched_nms(predicted[0][kept], best[kept], kinds[kept], NMS_IOU)]
        average_precision.update(
            Detections(predicted[0][kept].numpy(), None, best[kept].numpy(), kinds[kept].numpy()),
            Detections(boxes, None, None, np.array(classes, dtype=int)),
        )
        kept = kept[best[kept] > SCORE_THRESHOLD]
        iou = box_iou(torch.from_numpy(boxes), predicted[0][kept])
        iou = iou * (torch.tensor(classes)[:, None] == kinds[kept][None])
        wanted_total += len(boxes)
        reported += len(kept)
        if iou.numel():
            best_iou = iou.max(-1).values
            found += int((best_iou >= 0.5).sum())
            overlaps += best_iou[best_iou >= 0.5].tolist()
    result = average_precision.compute()
    return {
        "n_images": n_images,
        "map_50": float(result.map50),
        "map_50_95": float(result.map50_95),
        "recall": found / wanted_total,
        "precision": found / max(1, reported),
        "mean_iou": float(np.mean(overlaps)) if overlaps else 0.0,
        "ms_per_image": 1000 * seconds / n_images,
    }


def export(model: SpriteDetector, folder: Path, figures: dict[str, Any]) -> None:
    """Write `detector.onnx` (any batch size) and `detector.json`."""
    model.eval().to(memory_format=torch.contiguous_format)
    folder.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, 3, INPUT_SIDE, INPUT_SIDE)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        input_names=["images"],
        output_names=["boxes", "scores"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=256)},),
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    for part in (*proto.graph.node, *proto.graph.value_info):
        del part.metadata_props[:]  # stack traces with the paths of this machine
    (folder / "detector.onnx").write_bytes(proto.SerializeToString())
    settings = {
        "input_size": [INPUT_SIDE, INPUT_SIDE],
        "class_names": list(KINDS),
        "score_threshold": SCORE_THRESHOLD,
        "nms_iou": NMS_IOU,
        "smallest_object": HARD.sizes[0],
        "measured": {
            level: {k: round(v, 4) for k, v in of_level.items()}
            for level, of_level in figures.items()
        },
    }
    (folder / "detector.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/detector"))
    parser.add_argument("--bundle", type=Path, default=Path("stvg_r1_hub/bundled/tiny/detector"))
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--start-from", type=Path, help="detector.pt of an earlier run")
    args = parser.parse_args()
    model = train(args.out, args.steps, args.batch_size, start_from=args.start_from)
    figures = {level: evaluate(model, level) for level in LEVEL_SHARES}
    print(json.dumps(figures))
    export(model, args.bundle, figures)


if __name__ == "__main__":
    main()
