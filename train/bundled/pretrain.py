"""Train the bundled model: token labels, dense listing, then questions.

    python -m train.bundled.pretrain all --recipe gpu --out runs/tiny --bundle runs/tiny/bundle

or stage by stage: `tok`, `dense`, `mix`, `read`, then `export`.
`--recipe` is `gpu` (the hard world, one GPU), `cpu` (the medium world), `detailed` (one stage,
`sharpen`: the model of `cpu` at twice the visual tokens) or `easy` (the base of the easy world).

Each stage starts from the previous stage's weights, keeps its own files (`<stage>.safetensors`,
`<stage>.jsonl`, `curves.png`), and continues where it was when started again. With `--minutes 8` it
ends by itself after so long; the same command, on this machine or on another one that has the files
of `--out`, goes on. None of them is larger than 16 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader
from tqdm import tqdm

from train.bundled.collate import Collator
from train.bundled.model_with_heads import TinyModelWithHeads, losses, take_over
from train.bundled.recipes import RECIPES, Recipe, Stage
from train.bundled.sample_batches import SampleBatches
from train.bundled.stage_files import (
    cut_log,
    load_stage,
    load_state,
    remove,
    run_processor,
    save_state,
    save_weights,
)
from train.bundled.tiny_model import save_bundle
from train.run.curves import draw_stages

HALF_IS_FAST = torch.cuda.is_available() or "AVX512" in torch.backends.cpu.get_cpu_capability()
"""Elsewhere a processor emulates bfloat16, and a product of matrices takes 15 times as long."""
SAVE_EVERY = 50
"""Steps between two saved states; an interrupted stage repeats at most so many."""
SEEDS = {"tok": 1000, "dense": 1001, "mix": 1002, "read": 1003, "sharpen": 1004}
"""Of the training scenes; evaluation draws other ones."""


def optimizers(model: TinyModelWithHeads, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices, AdamW for embeddings, norms, biases and read-outs."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        hidden = weight.ndim == 2 and not name.startswith("heads") and "embed" not in name
        (matrices if hidden and "lm_head" not in name else rest).append(weight)
    return [
        torch.optim.Muon(
            matrices, lr=stage.muon_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=stage.muon_rate / 3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class _InFloat32(TorchFunctionMode):
    """What torch's Muon does in bfloat16, in float32."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.bfloat16:
            return args[0].float().clone()
        return func(*args, **(kwargs or {}))


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
    end: float = math.inf,
) -> bool:
    """Run or continue one stage; weights and log stand in `out` under the stage's name.

    Args:
        recipe: one of `RECIPES`.
        name: of the stage.
        out: folder of the run.
        steps: instead of the stage's own number.
        workers: rendering processes.
        warm_start: a model folder whose weights the first stage takes over as far as they fit.
        end: of `time.monotonic()`; a stage that is not done by then keeps its state.

    Returns:
        Whether the stage is done.

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
    model = TinyModelWithHeads(processor, recipe.size)
    state_path = out / f"{name}.state.pt"
    fingerprint = json.dumps([recipe.size.name, steps, dataclasses.asdict(stage)])
    if stage.previous and not state_path.exists():
        load_stage(model, out / f"{stage.previous}.safetensors", stage.previous)
    elif warm_start and not state_path.exists():
        print(take_over(model, processor.tokenizer, warm_start))
    model.to(device)
    opts = optimizers(model, stage)
    rates = [o.param_groups[0]["lr"] for o in opts]
    first = load_state(state_path, fingerprint, model, opts) if state_path.exists() else 0
    stream = iter(_batches(recipe, name, processor, first, workers, pin_memory=device == "cuda"))
    log_path = out / f"{name}.jsonl"
    cut_log(log_path, first)
    with log_path.open("a", encoding="utf-8") as log:
        bar = tqdm(range(first, steps), initial=first, total=steps, desc=name)
        for step in bar:
            batch = {k: v.to(device, non_blocking=True) for k, v in next(stream).items()}
            share = schedule(step, stage, steps)
            figures = _step(model, opts, rates, batch, stage, share) | {"step": step}
            log.write(json.dumps({k: round(v, 4) for k, v in figures.items()}) + "\n")
            if step % 20 == 0:
                log.flush()
                bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items() if k != "step"})
            late = time.monotonic() >= end
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps or late:
                save_state(state_path, fingerprint, model, opts, step + 1)
            if late and step + 1 < steps:
                print(f"{name}: {step + 1} of {steps} steps are done; the same command goes on.")
                return False
    save_weights(model, out / f"{name}.safetensors")
    remove(state_path)
    draw_stages(out, list(recipe.stages))
    print(verdict(recipe, name, log_path))
    return True


def _batches(
    recipe: Recipe, name: str, processor: Any, first: int, workers: int, *, pin_memory: bool
) -> DataLoader[dict[str, Tensor]]:
    """The stage's batches from the one of step `first` on, rendered by other processes."""
    stage = recipe.stages[name]
    return DataLoader(
        SampleBatches(
            seed=SEEDS[name],
            batch_size=stage.batch_size,
            levels=stage.levels,
            durations=stage.durations,
            dense_share=stage.dense_share,
            grid_steps=stage.grid_steps,
            n_dialogues=stage.n_dialogues,
            collate=Collator(processor, recipe.size),
            start=first,
        ),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
        # OpenCV's and torch's threads do not survive a fork: the worker would wait for ever.
        multiprocessing_context="spawn" if workers else None,
    )


def _step(
    model: TinyModelWithHeads,
    opts: list[torch.optim.Optimizer],
    rates: list[float],
    batch: dict[str, Tensor],
    stage: Stage,
    share: float,
) -> dict[str, float]:
    """One update; its figures."""
    begun = time.perf_counter()
    device = batch["frames"].device.type
    with torch.autocast(device, torch.bfloat16, enabled=HALF_IS_FAST):
        loss, figures = losses(model, batch, stage)
    loss.backward()
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    for optimizer, rate in zip(opts, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        if math.isfinite(norm):
            with contextlib.nullcontext() if HALF_IS_FAST else _InFloat32():
                optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return figures | {"norm": norm, "seconds": time.perf_counter() - begun}


def verdict(recipe: Recipe, name: str, log: Path) -> str:
    """Whether a stage reached its go / no-go figure, as a mean over its last 50 steps."""
    goal = recipe.goals[name]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[-50:]]
    reached = float(np.mean([line[goal.figure] for line in lines if goal.figure in line]))
    word = "go on" if reached >= goal.at_least else "do not go on: train longer"
    return f"{name}: {goal.figure} accuracy {reached:.3f}, wanted {goal.at_least}: {word}"


def check(recipe: Recipe, out: Path, stage: str, *, n: int = 40, level: str = "") -> dict[str, Any]:
    """Answers of a stage's weights to unseen clips with true tracks, as means.

    Generated answers tell what accuracies under the right prefix hide.
    """
    from train.bundled.answers import answer_sprites

    with tempfile.TemporaryDirectory() as folder:
        export(recipe, out, Path(folder), stage=stage)
        return answer_sprites(Path(folder), level or recipe.level, seed=2, n=n)


def export(recipe: Recipe, out: Path, bundle: Path, *, stage: str) -> None:
    """Write a stage's weights as the folder that `from_pretrained` loads."""
    processor = run_processor(recipe, out)
    model = TinyModelWithHeads(processor, recipe.size)
    load_stage(model, out / f"{stage}.safetensors", stage)
    save_bundle(model.qwen, processor, bundle, recipe.size)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stage", choices=[*SEEDS, "all", "check", "export"])
    parser.add_argument("--recipe", choices=list(RECIPES), default="gpu")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--steps", type=int, help="instead of the stage's own number")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="end after so long; the next call goes on"
    )
    parser.add_argument(
        "--warm-start", type=Path, help="model folder that the first stage starts from"
    )
    parser.add_argument("--bundle", type=Path, default=Path("runs/tiny/bundle"))
    parser.add_argument(
        "--from-stage", choices=list(SEEDS), help="check, export: instead of the last one"
    )
    parser.add_argument("--n", type=int, default=40, help="check: how many clips")
    args = parser.parse_args()
    end = time.monotonic() + args.minutes * 60
    recipe = RECIPES[args.recipe]
    stages = [name for name in recipe.stages if args.stage in (name, "all")]
    last = args.from_stage or list(recipe.stages)[-1]
    for name in stages:
        if args.stage == "all" and (args.out / f"{name}.safetensors").exists():
            continue  # a run that was interrupted in a later stage
        done = train_stage(
            recipe,
            name,
            args.out,
            steps=args.steps,
            workers=args.workers,
            warm_start=args.warm_start if not recipe.stages[name].previous else None,
            end=end,
        )
        if not done:
            return
    if args.stage in ("all", "check"):
        print(json.dumps(check(recipe, args.out, last, n=args.n)))
    if args.stage in ("all", "export"):
        export(recipe, args.out, args.bundle, stage=last)


if __name__ == "__main__":
    main()
