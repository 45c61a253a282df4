"""Checks of gt_object_id.json and grpo_math.json."""

import torch

from stvg_r1_hub.geometry import decode_mask
from tests.golden.compare import cases_of, differences, need
from train.data.ground_truth import frame_winners, official_object_id
from train.grpo.objective import group_advantages, grpo_loss, per_token_kl
from train.grpo.policy import split_ragged


def check_object_ids(data, folder, where):
    """The official vote, and its winner in every frame."""
    fields = ("id", "per_frame_id")
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        expected = {field: need(case, f"expected_{field}", here) for field in fields}
        inputs = [need(case, name, here) for name in ("annotation", "frames")]
        yield (
            str(case.get("name", i)),
            lambda expected=expected, inputs=inputs: differences(expected, _object_id(*inputs)),
        )


def _object_id(annotation, frames):
    objects = {
        int(frame): {int(key): box for key, rle in masks.items() if (box := _box(rle)) is not None}
        for frame, masks in frames.items()
    }
    first = int(annotation.get("st_frame", 0))  # the official scripts cut it
    boxes = annotation["bbox"]
    truth = boxes, range(first, first + len(boxes)), objects
    winner = official_object_id(*truth)
    return {
        "id": None if winner is None else str(winner),
        "per_frame_id": [None if i is None else str(i) for i in frame_winners(*truth)],
    }


def _box(rle):
    mask = decode_mask(rle)
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else None


def check_grpo(data, folder, where):
    """Mask, KL, advantages, loss and gradient of every group."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        expected = need(case, "expected", f"{where} case {i}")
        yield (
            str(case.get("name", i)),
            lambda expected=expected, case=case: differences(expected, _grpo(case)),
        )


def _mask(completions, eos):
    """Which tokens count when each row is what rollout leaves of it: up to its first end token."""
    kept = [row[: row.index(eos) + 1] if eos in row else row for row in map(list, completions)]
    _, mask = split_ragged(torch.zeros(sum(map(len, kept))), kept)
    return torch.nn.functional.pad(mask, (0, len(completions[0]) - mask.shape[1]))


def _grpo(case):
    logps = torch.tensor(case["per_token_logps"], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor(case["ref_per_token_logps"], dtype=torch.float64)
    mask = _mask(case["completion_ids"], case["eos_token_id"])
    rewards = torch.tensor(case["rewards_per_func"], dtype=torch.float64).sum(dim=1)
    advantages = group_advantages(rewards)
    parts = grpo_loss(logps, advantages, mask, reference_logps=reference, beta=case["beta"])
    parts.loss.backward()
    return {
        "completion_mask": mask.int().tolist(),
        "per_token_kl": per_token_kl(logps.detach(), reference).tolist(),
        "advantages": advantages.tolist(),
        "loss": parts.loss.item(),
        "mean_kl": parts.kl.item(),
        "grad_wrt_logps": logps.grad.tolist(),
    }
