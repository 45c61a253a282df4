"""Train the bundled model on sprite world: token labels, dense listing, then questions.

    python -m train.pretrain tok   --out runs/tiny
    python -m train.pretrain dense --out runs/tiny
    python -m train.pretrain mix   --out runs/tiny
    python -m train.pretrain read  --out runs/tiny
    python -m train.pretrain export --out runs/tiny --bundle stvg_r1_hub/bundled/tiny

Each stage starts from the previous stage's weights, keeps its own files (`<stage>.safetensors`,
`<stage>.jsonl`), and continues where it was when started again. Losses: cross entropy on the
answer's tokens (drawn IDs three times), plus cross entropy of throw-away read-outs that name the
kind, the drawn number and the action at every visual token. Without these read-outs nothing is
learned in reasonable time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from stvg_r1_hub.evaluation.sprites.scene import ACTIONS, KINDS, VERBS
from stvg_r1_hub.vlm.positions import mrope_positions
from train.fast_forward import TokenHeads, patchify, text_forward, vision_forward
from train.sprite_samples import (
    IGNORED,
    MAX_DRAWN_ID,
    TOKENS_PER_SIDE,
    Dialogue,
    Sample,
    SampleBatches,
)
from train.tiny_model import (
    CONFIG,
    MERGE,
    TEMPORAL,
    TOKENS_PER_SECOND,
    build_model,
    build_processor,
    save_bundle,
)


@dataclass(frozen=True)
class Stage:
    """Settings of one stage. Rates are peaks of a warm-up and cosine schedule."""

    previous: str | None
    steps: int
    batch_size: int
    durations: tuple[float, ...]
    dense_share: float
    grid_steps: int
    muon_rate: float
    final_rate: float
    """Share of the peak rate at the end."""
    token_weight: float
    """Weight of the visual tokens' read-outs."""
    text_weight: float
    n_dialogues: int = 0
    """Questions a step about scenes that are not shown but listed in the text."""


STAGES = {
    "tok": Stage(None, 1000, 32, (3.0,), 1.0, 2, 3e-3, 0.3, 1.0, 0.0),
    "dense": Stage("tok", 500, 16, (3.0,), 1.0, 0, 2.5e-3, 0.6, 0.3, 1.0),
    "mix": Stage("dense", 400, 24, (3.0, 4.0, 5.0), 0.2, 0, 2e-3, 0.7, 0.3, 1.0),
    "read": Stage("mix", 650, 20, (3.0, 4.0, 5.0), 0.1, 0, 1.3e-3, 0.02, 0.3, 1.0, 80),
}
SAVE_EVERY = 50
"""Steps between two saved states; an interrupted stage repeats at most so many."""
GOALS = {
    "tok": ("id", 0.9),
    "dense": ("text", 0.85),
    "mix": ("text", 0.85),
    "read": ("answer_id", 0.9),
}
"""Go / no-go figure of each stage: go on to the next one only when it is reached."""


class Row(NamedTuple):
    """One sequence before padding."""

    ids: NDArray[np.int64]
    """`(L,)` tokens."""
    weights: NDArray[np.float64]
    """`(L,)` weight of each token in the loss; 0 where it is given, not said."""
    positions: NDArray[np.int64]
    """`(3, L)` M-RoPE positions."""


class Trainee(nn.Module):
    """The model with its throw-away read-outs."""

    def __init__(self, processor: Any) -> None:
        super().__init__()
        self.qwen = build_model(processor.tokenizer)
        self.heads = TokenHeads(
            self.qwen.config.vision_config.out_hidden_size,
            len(KINDS),
            MAX_DRAWN_ID + 1,
            len(ACTIONS) + 1,
        )


class Collator:
    """Samples of equal duration, and dialogues without a clip, to padded tensors."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.video_token = self.tokenizer.convert_tokens_to_ids("<|video_pad|>")
        words = [f" {word}" for word in (*KINDS, *(verb.third_person for verb in VERBS.values()))]
        self.words = self.tokenizer(words, return_tensors="np").input_ids[:, 0]

    def __call__(self, batch: tuple[list[Sample], list[Dialogue]]) -> dict[str, Tensor]:
        """Build `frames`, `labels`, and `ids`, `weights`, `positions` of both kinds of rows."""
        samples, dialogues = batch
        tensors = {
            "frames": torch.from_numpy(np.stack([s.frames for s in samples])),
            "labels": torch.from_numpy(np.stack([s.labels for s in samples])),
            **self._padded([self._row(s.dialogue) for s in samples]),
        }
        if dialogues:
            rows = [self._without_video(self._row(d)) for d in dialogues]
            tensors |= {f"read_{name}": value for name, value in self._padded(rows).items()}
        return tensors

    def _row(self, dialogue: Dialogue) -> Row:
        content = [{"type": "text", "text": dialogue.prompt}, {"type": "video"}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        n_visual = dialogue.grid_steps * TOKENS_PER_SIDE**2
        head: list[int] = []
        for token in self.tokenizer(prompt).input_ids:
            head += [token] * (n_visual if token == self.video_token else 1)
        tail = [*self.tokenizer(dialogue.answer).input_ids, self.tokenizer.eos_token_id]
        weights = np.array([0.0] * len(head) + [1.0] * len(tail))
        if "<answer>" in dialogue.answer:
            weights[-_TAIL_OF_ID] = 3.0
        ids = np.array(head + tail)
        side = MERGE * TOKENS_PER_SIDE
        positions, _ = mrope_positions(
            ids,
            np.array([[dialogue.grid_steps, side, side]]),
            [TEMPORAL / CONFIG.sampling.fps],
            video_token_id=self.video_token,
            tokens_per_second=TOKENS_PER_SECOND,
            merge_size=MERGE,
        )
        return Row(ids, weights, positions)

    def _without_video(self, row: Row) -> Row:
        """The row without its visual tokens, all others at their places.

        Only what follows from the query and the listing counts: which action is the asked one,
        and the answer. A row like this costs a twentieth of one with its clip, and teaches as
        well how to find the asked object, which is what takes longest to learn.
        """
        weights = np.zeros_like(row.weights)
        weights[-_TAIL_OF_ANSWER:] = row.weights[-_TAIL_OF_ANSWER:]
        said = np.flatnonzero(row.weights)[0]
        # The query in the listing's words: <think> kind (asked) action (asked)
        weights[said : said + 5] = 1.0
        # The token behind a kind or an action says whether it is the asked one.
        listing = np.arange(said + 5, len(row.ids) - _TAIL_OF_ANSWER)
        decisions = listing[np.isin(row.ids[listing - 1], self.words)]
        weights[decisions] = _DECISION_WEIGHT
        kept = row.ids != self.video_token
        return Row(row.ids[kept], weights[kept], row.positions[:, kept])

    def _padded(self, rows: list[Row]) -> dict[str, Tensor]:
        length = max(len(row.ids) for row in rows)
        length += -length % 8
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        weights = torch.zeros(len(rows), length)
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.from_numpy(row.ids)
            weights[i, : len(row.ids)] = torch.from_numpy(row.weights)
            positions[:, i, : len(row.ids)] = torch.from_numpy(row.positions)
        return {"ids": ids, "weights": weights, "positions": positions}


_TAIL_OF_ID = 14
"""The target's ID stands so many tokens before the end of a row:
`ID , Time range : 0 . 50 to 2 . 00 </answer> <|im_end|>`."""
_TAIL_OF_ANSWER = _TAIL_OF_ID + 4
"""And `<answer> Target ID :` before it."""
_DECISION_WEIGHT = 2.0
"""Weight of the tokens that decide whether a listed object is the asked one."""


def losses(
    trainee: Trainee, batch: dict[str, Tensor], stage: Stage
) -> tuple[Tensor, dict[str, float]]:
    """Weighted loss of a batch and the figures to log."""
    figures: dict[str, float] = {}
    model = trainee.qwen.model
    count = len(batch["labels"])
    tokens = vision_forward(model.visual, patchify(batch["frames"]))
    total = torch.zeros(())
    logits = trainee.heads(tokens)
    labels = batch["labels"].flatten(0, 1)
    for i, (name, weight) in enumerate((("kind", 1.0), ("id", 3.0), ("action", 1.0))):
        flat, wanted = logits[i].flatten(0, 1).float(), labels[..., i].flatten()
        loss = F.cross_entropy(flat, wanted, ignore_index=IGNORED)
        total = total + stage.token_weight * weight * loss
        seen = wanted != IGNORED
        figures[name] = float((flat.argmax(-1) == wanted)[seen].float().mean())
    if stage.text_weight:
        hidden = trainee.qwen.get_input_embeddings()(batch["ids"])
        is_video = (batch["ids"] == trainee.qwen.config.video_token_id).unsqueeze(-1)
        visual = tokens.view(count, -1, tokens.shape[-1]).to(hidden.dtype)
        text_loss, text_figures = _text_loss(
            trainee,
            hidden.masked_scatter(is_video, visual),
            *(batch[name] for name in ("ids", "weights", "positions")),
        )
        total = total + stage.text_weight * text_loss
        figures |= text_figures
    if "read_ids" in batch:
        read_loss, read_figures = _text_loss(
            trainee,
            trainee.qwen.get_input_embeddings()(batch["read_ids"]),
            *(batch[f"read_{name}"] for name in ("ids", "weights", "positions")),
        )
        total = total + stage.text_weight * read_loss
        figures |= {f"read_{name}": value for name, value in read_figures.items()}
    return total, figures | {"loss": float(total.detach())}


def _text_loss(
    trainee: Trainee, hidden: Tensor, ids: Tensor, weights: Tensor, positions: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy of the weighted tokens, and the shares that were right."""
    hidden = text_forward(trainee.qwen.model.language_model, hidden, positions)
    asked = weights[:, 1:] > 0
    scores = trainee.qwen.lm_head(hidden[:, :-1][asked]).float()
    wanted, weight = ids[:, 1:][asked], weights[:, 1:][asked]
    loss = (F.cross_entropy(scores, wanted, reduction="none") * weight).sum() / weight.sum()
    right = (scores.argmax(-1) == wanted).float()
    figures = {"text": float(right.mean()), "text_loss": float(loss.detach())}
    if bool((weight == 3).any()):
        figures["answer_id"] = float(right[weight == 3].mean())
    return loss, figures


def optimizers(trainee: Trainee, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices, AdamW for embeddings, norms, biases and read-outs."""
    matrices, rest = [], []
    for name, weight in trainee.named_parameters():
        hidden = weight.ndim == 2 and not name.startswith("heads") and "embed" not in name
        (matrices if hidden and "lm_head" not in name else rest).append(weight)
    return [
        torch.optim.Muon(
            matrices, lr=stage.muon_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=stage.muon_rate / 3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def schedule(step: int, stage: Stage, steps: int) -> float:
    """Share of the peak rate: warm-up over 50 steps, then a cosine to `final_rate`."""
    if step < 50:
        return (step + 1) / 50
    done = (step - 50) / max(1, steps - 50)
    return stage.final_rate + (1 - stage.final_rate) * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


def train_stage(name: str, out: Path, *, steps: int | None = None, workers: int = 1) -> None:
    """Run or continue one stage; weights and log stand in `out` under the stage's name.

    Raises:
        SystemExit: the previous stage's weights are missing or do not fit this model.
    """
    stage = STAGES[name]
    steps = steps or stage.steps
    torch.manual_seed(0)
    processor = build_processor()
    trainee = Trainee(processor)
    opts = optimizers(trainee, stage)
    rates = [o.param_groups[0]["lr"] for o in opts]
    out.mkdir(parents=True, exist_ok=True)
    state_path = out / f"{name}.state.pt"
    first = 0
    if state_path.exists():
        first = _resume(state_path, trainee, opts)
    elif stage.previous:
        _load(trainee, out / f"{stage.previous}.safetensors", stage.previous)
    batches = DataLoader(
        SampleBatches(
            seed=1000 + list(STAGES).index(name),
            batch_size=stage.batch_size,
            durations=stage.durations,
            dense_share=stage.dense_share,
            grid_steps=stage.grid_steps,
            n_dialogues=stage.n_dialogues,
            start=first,
        ),
        batch_size=None,
        num_workers=workers,
        collate_fn=Collator(processor),
        prefetch_factor=4 if workers else None,
        # OpenCV's and torch's threads do not survive a fork: the worker would wait for ever.
        multiprocessing_context="spawn" if workers else None,
    )
    stream = iter(batches)
    with (out / f"{name}.jsonl").open("a", encoding="utf-8") as log:
        bar = tqdm(range(first, steps), initial=first, total=steps, desc=name)
        for step in bar:
            _step(
                trainee,
                opts,
                rates,
                next(stream),
                stage,
                schedule(step, stage, steps),
                step,
                log,
                bar,
            )
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                _save_state(state_path, trainee, opts, step + 1)
    _save_weights(trainee, out / f"{name}.safetensors")
    state_path.unlink()
    print(verdict(name, out / f"{name}.jsonl"))


def verdict(name: str, log: Path) -> str:
    """Whether a stage reached its go / no-go figure, as a mean over its last 50 steps."""
    figure, goal = GOALS[name]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[-50:]]
    reached = float(np.mean([line[figure] for line in lines if figure in line]))
    word = "go on" if reached >= goal else "do not go on: train longer"
    return f"{name}: {figure} accuracy {reached:.3f}, wanted {goal}: {word}"


def _step(
    trainee: Trainee,
    opts: list[torch.optim.Optimizer],
    rates: list[float],
    batch: dict[str, Tensor],
    stage: Stage,
    share: float,
    step: int,
    log: Any,
    bar: Any,
) -> None:
    begun = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss, figures = losses(trainee, batch, stage)
    loss.backward()
    norm = float(nn.utils.clip_grad_norm_(trainee.parameters(), 1.0))
    for optimizer, rate in zip(opts, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    figures |= {"step": step, "norm": norm, "seconds": time.perf_counter() - begun}
    log.write(json.dumps({k: round(v, 4) for k, v in figures.items()}) + "\n")
    if step % 20 == 0:
        log.flush()
        bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items() if k != "step"})


def _save_state(path: Path, trainee: Trainee, opts: list[Any], step: int) -> None:
    state = {"model": trainee.state_dict(), "opts": [o.state_dict() for o in opts], "step": step}
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path, trainee: Trainee, opts: list[Any]) -> int:
    state = torch.load(path, weights_only=True)
    trainee.load_state_dict(state["model"])
    for optimizer, saved in zip(opts, state["opts"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def _save_weights(trainee: Trainee, path: Path) -> None:
    state = {
        k: v.contiguous() for k, v in trainee.state_dict().items() if k != "qwen.lm_head.weight"
    }
    temporary = path.with_suffix(".tmp")
    save_file(state, temporary)
    temporary.replace(path)


def _load(trainee: Trainee, path: Path, stage: str) -> None:
    if not path.exists():
        sys.exit(
            f"{path} is missing; run first: python -m train.pretrain {stage} --out {path.parent}"
        )
    state = load_file(path)
    state["qwen.lm_head.weight"] = state["qwen.model.language_model.embed_tokens.weight"]
    try:
        trainee.load_state_dict(state)
    except RuntimeError as error:
        sys.exit(f"{path} holds weights of another model than train/tiny_model.py: {error}")


def export(out: Path, bundle: Path) -> None:
    """Write the last stage's weights as the folder that `from_pretrained` loads."""
    processor = build_processor()
    trainee = Trainee(processor)
    _load(trainee, out / "read.safetensors", "read")
    save_bundle(trainee.qwen, processor, bundle)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stage", choices=[*STAGES, "export"])
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--steps", type=int, help="instead of the stage's own number")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument("--bundle", type=Path, default=Path("stvg_r1_hub/bundled/tiny"))
    args = parser.parse_args()
    if args.stage == "export":
        export(args.out, args.bundle)
    else:
        train_stage(args.stage, args.out, steps=args.steps, workers=args.workers)


if __name__ == "__main__":
    main()
