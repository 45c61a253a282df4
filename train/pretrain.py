"""Train the bundled model: token labels, dense listing, questions, then class hints.

    python -m train.pretrain all --recipe gpu --out runs/tiny --bundle runs/tiny/bundle

or stage by stage: `tok`, `dense`, `mix`, `read`, `hints`, then `export`.
`--recipe` is `gpu` (the hard world, one GPU), `cpu` (the medium world), `hints` (class hints, for
the model of `cpu`) or `easy` (the base model of the easy world).

Each stage starts from the previous stage's weights, keeps its own files (`<stage>.safetensors`,
`<stage>.jsonl`, `curves.png`), and continues where it was when started again. Losses: cross
entropy on the answer's tokens (drawn IDs three times), plus cross entropy of throw-away read-outs
that name the kind, the drawn number and the action at every visual token. Without these read-outs
nothing is learned in reasonable time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from stvg_r1_hub.evaluation.sprites.motion import ACTIONS
from stvg_r1_hub.evaluation.sprites.scene import KINDS
from train.collate import ID_WEIGHT, Collator
from train.fast_forward import TokenHeads, patchify, text_forward, vision_forward
from train.recipes import RECIPES, Recipe, Stage
from train.sample_batches import SampleBatches
from train.sizes import FACTOR, SMALL, ModelSize
from train.sprite_samples import IGNORED
from train.stage_curves import draw_curves
from train.street.words import MOTIONS
from train.street.world import MAX_NUMBER
from train.tiny_model import build_model, build_processor, save_bundle

SAVE_EVERY = 50
"""Steps between two saved states; an interrupted stage repeats at most so many."""
HINTS = "hints"
"""The stage that teaches class hints."""
SEEDS = {"tok": 1000, "dense": 1001, "mix": 1002, "read": 1003, HINTS: 1004}
"""Of the training scenes; evaluation draws other ones."""


class Trainee(nn.Module):
    """The model with its throw-away read-outs."""

    def __init__(self, processor: Any, size: ModelSize = SMALL) -> None:
        super().__init__()
        self.qwen = build_model(processor.tokenizer, size)
        n_actions = 1 + len(ACTIONS) + len(MOTIONS)
        self.heads = TokenHeads(size.hidden, len(KINDS), MAX_NUMBER + 1, n_actions)


def losses(
    trainee: Trainee, batch: dict[str, Tensor], stage: Stage
) -> tuple[Tensor, dict[str, float]]:
    """Weighted loss of a batch and the figures to log."""
    figures: dict[str, float] = {}
    model = trainee.qwen.model
    count = len(batch["labels"])
    _, _, height, width, _ = batch["frames"].shape
    grid_size = (height // FACTOR, width // FACTOR)
    tokens = vision_forward(model.visual, patchify(batch["frames"]), grid_size)
    total = torch.zeros((), device=tokens.device)
    logits = trainee.heads(tokens)
    labels = batch["labels"].flatten(0, 1)
    for i, (name, weight) in enumerate((("kind", 1.0), ("id", 3.0), ("action", 1.0))):
        flat, wanted = logits[i].flatten(0, 1).float(), labels[..., i].flatten()
        seen = wanted != IGNORED
        if not bool(seen.any()):
            continue  # what street scenes look like has no name
        loss = F.cross_entropy(flat, wanted, ignore_index=IGNORED)
        total = total + stage.token_weight * weight * loss
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
    if bool((weight == ID_WEIGHT).any()):
        figures["answer_id"] = float(right[weight == ID_WEIGHT].mean())
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


def train_stage(
    recipe: Recipe,
    name: str,
    out: Path,
    *,
    steps: int | None = None,
    workers: int = 1,
    warm_start: Path | None = None,
) -> None:
    """Run or continue one stage; weights and log stand in `out` under the stage's name.

    Args:
        recipe: one of `RECIPES`.
        name: of the stage.
        out: folder of the run.
        steps: instead of the stage's own number.
        workers: rendering processes.
        warm_start: a model folder whose weights the first stage takes over as far as they fit.

    Raises:
        SystemExit: the previous stage's weights are missing or do not fit this model, the saved
            state is of another recipe, or the disk is full; earlier files stay as they were.
    """
    stage = recipe.stages[name]
    steps = steps or stage.steps
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    processor = run_processor(recipe, out, warm_start)
    trainee = Trainee(processor, recipe.size)
    state_path = out / f"{name}.state.pt"
    fingerprint = json.dumps([recipe.size.name, steps, dataclasses.asdict(stage)])
    if stage.previous and not state_path.exists():
        load_stage(trainee, out / f"{stage.previous}.safetensors", stage.previous)
    elif warm_start and not state_path.exists():
        print(take_over(trainee, processor.tokenizer, warm_start))
    trainee.to(device)
    opts = optimizers(trainee, stage)
    rates = [o.param_groups[0]["lr"] for o in opts]
    first = _resume(state_path, fingerprint, trainee, opts) if state_path.exists() else 0
    batches = DataLoader(
        SampleBatches(
            seed=SEEDS[name],
            batch_size=stage.batch_size,
            levels=stage.levels,
            durations=stage.durations,
            dense_share=stage.dense_share,
            grid_steps=stage.grid_steps,
            n_dialogues=stage.n_dialogues,
            size=recipe.size,
            start=first,
        ),
        batch_size=None,
        num_workers=workers,
        collate_fn=Collator(processor, recipe.size),
        prefetch_factor=4 if workers else None,
        pin_memory=device == "cuda",
        # OpenCV's and torch's threads do not survive a fork: the worker would wait for ever.
        multiprocessing_context="spawn" if workers else None,
    )
    stream = iter(batches)
    log_path = out / f"{name}.jsonl"
    _cut_log(log_path, first)
    with log_path.open("a", encoding="utf-8") as log:
        bar = tqdm(range(first, steps), initial=first, total=steps, desc=name)
        for step in bar:
            batch = {k: v.to(device, non_blocking=True) for k, v in next(stream).items()}
            share = schedule(step, stage, steps)
            figures = _step(trainee, opts, rates, batch, stage, share) | {"step": step}
            log.write(json.dumps({k: round(v, 4) for k, v in figures.items()}) + "\n")
            if step % 20 == 0:
                log.flush()
                bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items() if k != "step"})
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                _save_state(state_path, fingerprint, trainee, opts, step + 1)
    _save_weights(trainee, out / f"{name}.safetensors")
    state_path.unlink()
    draw_curves(out, list(recipe.stages))
    print(verdict(recipe, name, log_path))


def run_processor(recipe: Recipe, out: Path, warm_start: Path | None = None) -> Any:
    """The run's own processor, built or taken over once and kept in `out/processor`.

    Its vocabulary follows from the world's text. Built anew for each stage, an edit of that text
    in between would give every word another number, and the weights would read nonsense.
    """
    from transformers import Qwen2_5_VLProcessor

    folder = out / "processor"
    if not folder.exists():
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / "processor.tmp"
        if recipe.keeps_vocabulary:
            if warm_start is None:
                sys.exit("This recipe goes on from a finished model; give its --warm-start folder.")
            Qwen2_5_VLProcessor.from_pretrained(warm_start).save_pretrained(temporary)
        else:
            build_processor(recipe.size).save_pretrained(temporary)
        temporary.replace(folder)
    return Qwen2_5_VLProcessor.from_pretrained(folder)


def verdict(recipe: Recipe, name: str, log: Path) -> str:
    """Whether a stage reached its go / no-go figure, as a mean over its last 50 steps."""
    goal = recipe.goals[name]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[-50:]]
    reached = float(np.mean([line[goal.figure] for line in lines if goal.figure in line]))
    word = "go on" if reached >= goal.at_least else "do not go on: train longer"
    return f"{name}: {goal.figure} accuracy {reached:.3f}, wanted {goal.at_least}: {word}"


def _step(
    trainee: Trainee,
    opts: list[torch.optim.Optimizer],
    rates: list[float],
    batch: dict[str, Tensor],
    stage: Stage,
    share: float,
) -> dict[str, float]:
    """One update; its figures."""
    begun = time.perf_counter()
    with torch.autocast(batch["frames"].device.type, torch.bfloat16):
        loss, figures = losses(trainee, batch, stage)
    loss.backward()
    norm = float(nn.utils.clip_grad_norm_(trainee.parameters(), 1.0))
    for optimizer, rate in zip(opts, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return figures | {"norm": norm, "seconds": time.perf_counter() - begun}


def _whole_or_not(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its place, then move it there; a full disk leaves the old file."""
    temporary = path.with_suffix(".tmp")
    try:
        write(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch and safetensors wrap what the disk says
        temporary.unlink(missing_ok=True)
        kept = "the last saved one is kept" if path.exists() else "nothing was saved before"
        sys.exit(f"Could not write {path} ({error}); {kept}. Make room and start again.")


def _save_state(path: Path, fingerprint: str, trainee: Trainee, opts: list[Any], step: int) -> None:
    state = {
        "recipe": fingerprint,
        "model": trainee.state_dict(),
        "opts": [o.state_dict() for o in opts],
        "step": step,
    }
    _whole_or_not(path, lambda temporary: torch.save(state, temporary))


def _resume(path: Path, fingerprint: str, trainee: Trainee, opts: list[Any]) -> int:
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["recipe"] != fingerprint:
        sys.exit(
            f"{path} was saved under other settings; start again with them, or delete the file "
            "to begin this stage anew."
        )
    trainee.load_state_dict(state["model"])
    for optimizer, saved in zip(opts, state["opts"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def _cut_log(path: Path, first: int) -> None:
    """Drop the lines of steps that are going to be repeated."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:first]), encoding="utf-8")


def _save_weights(trainee: Trainee, path: Path) -> None:
    state = {
        k: v.contiguous().cpu()
        for k, v in trainee.state_dict().items()
        if k != "qwen.lm_head.weight"
    }
    _whole_or_not(path, lambda temporary: save_file(state, temporary))


def load_stage(trainee: Trainee, path: Path, stage: str) -> None:
    """Load a finished stage's weights.

    Raises:
        SystemExit: they are missing, or of another model.
    """
    if not path.exists():
        sys.exit(
            f"{path} is missing; run first: python -m train.pretrain {stage} --out {path.parent}"
        )
    state = load_file(path)
    state["qwen.lm_head.weight"] = state["qwen.model.language_model.embed_tokens.weight"]
    try:
        trainee.load_state_dict(state)
    except RuntimeError as error:
        sys.exit(f"{path} holds weights of another model than this recipe's: {error}")


def take_over(trainee: Trainee, tokenizer: Any, folder: Path) -> str:
    """Start from a finished model: equal shapes are copied, embeddings token by token.

    Returns:
        How much was taken over, as a sentence.

    Raises:
        SystemExit: the folder is no model folder.
    """
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    try:
        old = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        known = AutoTokenizer.from_pretrained(folder).get_vocab()
    except (OSError, ValueError) as error:
        sys.exit(f"Cannot start from {folder}: {error}")
    state = trainee.qwen.state_dict()
    embedding = "model.language_model.embed_tokens.weight"
    shared = [(row, known[text]) for text, row in tokenizer.get_vocab().items() if text in known]
    new, there = (list(rows) for rows in zip(*shared, strict=True))
    taken = 0
    for name, value in old.state_dict().items():
        if name in (embedding, "lm_head.weight"):
            state[name][new] = value[there].to(state[name].dtype)
        elif name in state and state[name].shape == value.shape:
            state[name].copy_(value)
            taken += 1
    return f"took over {taken} of {len(state)} weights and {len(new)} of {len(tokenizer)} tokens"


def check(recipe: Recipe, out: Path, stage: str, *, n: int = 40, level: str = "") -> dict[str, Any]:
    """Answers of a stage's weights to unseen clips with true tracks, as means.

    Generated answers tell what accuracies under the right prefix hide.
    """
    from stvg_r1_hub.evaluation.sprites.benchmark import run_with_true_tracks

    with tempfile.TemporaryDirectory() as folder:
        export(recipe, out, Path(folder), stage=stage)
        return run_with_true_tracks(Path(folder), level or recipe.level, seed=2, n=n)


def export(recipe: Recipe, out: Path, bundle: Path, *, stage: str) -> None:
    """Write a stage's weights as the folder that `from_pretrained` loads."""
    processor = run_processor(recipe, out)
    trainee = Trainee(processor, recipe.size)
    load_stage(trainee, out / f"{stage}.safetensors", stage)
    knows_hints = HINTS in recipe.stages
    save_bundle(trainee.qwen, processor, bundle, recipe.size, knows_hints=knows_hints)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stage", choices=[*SEEDS, "all", "check", "export"])
    parser.add_argument("--recipe", choices=list(RECIPES), default="gpu")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--steps", type=int, help="instead of the stage's own number")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument(
        "--warm-start", type=Path, help="model folder that the first stage starts from"
    )
    parser.add_argument("--bundle", type=Path, default=Path("runs/tiny/bundle"))
    parser.add_argument(
        "--from-stage", choices=list(SEEDS), help="check, export: instead of the last one"
    )
    parser.add_argument("--n", type=int, default=40, help="check: how many clips")
    args = parser.parse_args()
    recipe = RECIPES[args.recipe]
    stages = [name for name in recipe.stages if args.stage in (name, "all")]
    last = args.from_stage or list(recipe.stages)[-1]
    for name in stages:
        if args.stage == "all" and (args.out / f"{name}.safetensors").exists():
            continue  # a run that was interrupted in a later stage
        train_stage(
            recipe,
            name,
            args.out,
            steps=args.steps,
            workers=args.workers,
            warm_start=args.warm_start if not recipe.stages[name].previous else None,
        )
    if args.stage in ("all", "check"):
        print(json.dumps(check(recipe, args.out, last, n=args.n)))
    if args.stage in ("all", "export"):
        export(recipe, args.out, args.bundle, stage=last)


if __name__ == "__main__":
    main()
