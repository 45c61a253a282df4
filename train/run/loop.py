"""The training loop that GRPO and supervised training share.

It knows processes, updates, checkpoints and what is shown; what is learned from a sample is the
objective's business. One step: every process takes `accumulation` samples, the objective prepares
them (GRPO: completions and rewards), then `updates_per_rollout` optimizer updates follow.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.hub.training_record import TrainingStage
from stvg_r1_hub.outputs import make_folder
from train.data.samples import SampleSource, TrainingSample
from train.grpo.rollout import TrainingError
from train.run.checkpoints import Checkpoints, writing_into
from train.run.record_keeping import RunLog, combined, memory_gb, require_trackers
from train.run.sample_feed import SampleFeed, check_held_out, check_settings
from train.run.start_model import (
    StartModel,
    base_name,
    export_model,
    load_start_model,
    what_is_trained,
)
from train.run.training_config import TrainingConfig

MODEL = "model"
"""Folder of the trained model."""
SMOOTHING = 0.9
"""Weight of the past in the running mean of the reward."""
SHARDED = ("FSDP", "DEEPSPEED")
ALL_EQUAL = (
    "In the first step every completion of a group got the same reward, so nothing is learned from "
    "it. Look at tables/: a start model that never, or always, answers right has nothing to gain."
)
_log = logging.getLogger(__name__)


class Objective(Protocol):
    """What is learned from samples."""

    method: str
    """What the model's card calls it."""

    def prepare(self, samples: Sequence[TrainingSample], places: Sequence[int]) -> list[Any]:
        """One batch item a sample, made without gradients."""

    def validate(self, samples: Sequence[TrainingSample]) -> list[dict[str, float]]:
        """Figures of held-out samples, one row each."""

    def loss(self, item: Any) -> tuple[Tensor, dict[str, float]]:
        """Loss of one item with its gradient, and figures worth watching."""

    def rows(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """What was said or taught, for people; those of a sample together, best first."""


ObjectiveMaker = Callable[[TrainingConfig, StartModel, Any, Accelerator], Objective]


class TrainingLoop:
    """One run: from a start model and samples to a trained model in `out`."""

    def __init__(
        self,
        config: TrainingConfig,
        samples: SampleSource,
        out: Path,
        objective: ObjectiveMaker,
        *,
        validation: SampleSource | None = None,
    ) -> None:
        """Load and distribute the model.

        Args:
            config: of the run.
            samples: to learn from.
            out: folder of the run.
            objective: what is learned.
            validation: held-out samples, looked at every `validate_every` steps.

        Raises:
            ConfigError: launched otherwise than the config says, the samples were prepared for
                a model with other settings, or held-out samples are among them.
            ModelError: the start model cannot be loaded.
            MissingPackageError: of a tracker.
        """
        require_trackers(config)
        self.config = config
        self.samples = samples
        self.validation = validation
        self.out = out
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),
            gradient_accumulation_steps=config.accumulation,
            log_with=list(config.trackers) or None,
            project_dir=str(out),
            step_scheduler_with_optimizer=False,
            # Every process generates for as long as it likes: no exchange in a forward call.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self._check_launch()
        make_folder(out)
        if self.accelerator.state.deepspeed_plugin is not None:
            self._set_up_deepspeed()
        set_seed(config.seed, device_specific=True)
        self.start = load_start_model(config)
        if validation is not None:
            check_held_out(samples, validation)
        trained = [weight for weight in self.start.policy.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.total_steps = self._total_steps()
        self.policy, self.optimizer = self.accelerator.prepare(self.start.policy, optimizer)
        # DeepSpeed may have put an optimizer of its own in the place of ours.
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.accelerator.register_for_checkpointing(self.scheduler)
        self.objective = objective(config, self.start, self.policy, self.accelerator)
        for source in (samples, validation) if validation is not None else (samples,):
            taught = self.objective.method != "GRPO"
            check_settings(source, self.start.config, config.model, teaches_prompt=taught)
        self.feed = SampleFeed(
            samples,
            config,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        self.checkpoints = Checkpoints(out / "checkpoints", config, self.accelerator)
        self.reward_mean: float | None = None

    def _set_up_deepspeed(self) -> None:
        settings = self.accelerator.state.deepspeed_plugin.deepspeed_config
        settings["train_micro_batch_size_per_gpu"] = 1
        settings["gradient_clipping"] = self.config.max_grad_norm
        # Else transformers spreads over the processes whatever it loads, the plain copies too.
        unset_hf_deepspeed_config()

    def run(self, *, resume: bool = False) -> Path:
        """Train to the end; the folder with the trained model.

        Args:
            resume: go on from the newest checkpoint in `out`; without one, start.

        Raises:
            TrainingError: the loss or gradient is not finite, or the objective cannot go on.
            ConfigError: the checkpoint belongs to another config, or `out` holds another run.
        """
        first = self._begin(resume)
        with (
            RunLog(self.out, self.config, self.accelerator, first_step=first) as log,
            ThreadPoolExecutor(max_workers=1) as reader,
        ):
            upcoming = reader.submit(self.feed.read, first)
            for step in log.steps(first, self.total_steps):
                current = upcoming
                if step + 1 < self.total_steps:
                    upcoming = reader.submit(self.feed.read, step + 1)
                items, figures = self._step(step, current)
                if step == 0 and figures.get("all_equal") == 1:
                    _log.warning(ALL_EQUAL)
                done = step + 1

                def due(every: int, done: int = done) -> bool:
                    return done % every == 0 or done == self.total_steps

                if self.validation is not None and due(self.config.validate_every):
                    figures |= self._validate(self.validation)
                with writing_into(self.out):
                    log.write(step, figures)
                    log.completions(
                        step, self.objective.rows(items), table=due(self.config.table_every)
                    )
                    if due(self.config.save_every):
                        self.checkpoints.save(
                            done, {"reward_mean": self.reward_mean, "made_of": self._made_of()}
                        )
                        log.curves()
        return self.export()

    def export(self) -> Path:
        """Write the model as it is now."""
        folder = self.out / MODEL
        weights = self.accelerator.get_state_dict(self.policy)
        if self.accelerator.is_main_process:
            stage = TrainingStage(
                method=self.objective.method,
                base_model=base_name(self.config),
                trained=what_is_trained(self.config),
                data=self.samples.title,
                n_samples=len(self.samples),
                steps=self.total_steps,
                samples_per_step=self.accelerator.num_processes * self.config.accumulation,
                learning_rate=self.config.learning_rate,
                rewards=dict(self.config.rewards) if self.objective.method == "GRPO" else {},
            )
            # Supervised training may teach another prompt; it travels with the weights.
            settings = dataclasses.replace(
                self.start.config, prompt_id=self.samples.config.prompt_id
            )
            with writing_into(self.out):
                export_model(self.start, self.config, weights, folder, stage, settings)
        self.accelerator.wait_for_everyone()
        return folder

    def _begin(self, resume: bool) -> int:
        newest = self.checkpoints.newest()
        if newest is None:
            if (self.out / MODEL).exists():
                raise ConfigError(
                    f"{self.out} already holds a trained model, and no checkpoint to go on from; "
                    "name another --out."
                )
            return 0
        if not resume:
            raise ConfigError(
                f"{self.out} already holds a run (its last checkpoint is {newest.name}); go on "
                "with --resume, or name another --out."
            )
        state = self.checkpoints.load(newest, made_of=self._made_of())
        self.reward_mean = state.get("reward_mean")
        return int(state["step"])

    def _made_of(self) -> dict[str, Any]:
        """What a run depends on besides its config."""
        return {
            "method": self.objective.method,
            "samples": len(self.samples),
            "data": self.samples.fingerprint,
        }

    def _validate(self, samples: SampleSource) -> dict[str, float]:
        """Figures of the first held-out samples, this process's share of them."""
        began = time.perf_counter()
        rows = []
        for batch in self.feed.held_out(samples):
            rows += self.objective.validate(batch)
        overall = combined(rows, self.accelerator)
        figures = {f"validation/{name}": value for name, value in overall.items()}
        return {**figures, "seconds_validation": time.perf_counter() - began}

    def _step(self, step: int, reading: Future[Any]) -> tuple[list[Any], dict[str, float]]:
        began = time.perf_counter()
        samples, places = reading.result()
        items = self.objective.prepare(samples, places)
        prepared = time.perf_counter()
        rows: list[dict[str, float]] = []
        for _ in range(self.config.updates_per_rollout):
            for sample, item in zip(samples, items, strict=True):
                rows.append(self._learn(sample, item))
        rows[-1] |= {"memory_gb": memory_gb(), "unreadable": self.feed.unreadable}
        figures = combined(rows, self.accelerator)
        figures |= {
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds_prepare": prepared - began,
            "seconds_update": time.perf_counter() - prepared,
        }
        if "reward" in figures:
            completions = len(items) * self.config.num_generations * self.accelerator.num_processes
            figures["tokens_per_second"] = figures["length"] * completions / (prepared - began)
            past = figures["reward"] if self.reward_mean is None else self.reward_mean
            self.reward_mean = SMOOTHING * past + (1 - SMOOTHING) * figures["reward"]
            figures["reward_mean"] = self.reward_mean
        return items, figures

    def _learn(self, sample: TrainingSample, item: Any) -> dict[str, float]:
        """Backward pass of one item, and the update when its turn has come."""
        with self.accelerator.accumulate(self.policy):
            loss, figures = self.objective.loss(item)
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"The loss is {loss.item()} at sample {sample.sample_id!r} "
                    f"({sample.query!r}); the last checkpoint is intact. Lower learning_rate, or "
                    "look at this sample."
                )
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                norm = self.accelerator.clip_grad_norm_(
                    self.policy.parameters(), self.config.max_grad_norm
                )
                figures["grad_norm"] = float(norm) if norm is not None else math.nan
                if norm is not None and not math.isfinite(figures["grad_norm"]):
                    raise TrainingError(
                        f"The gradient is {figures['grad_norm']} after sample "
                        f"{sample.sample_id!r} ({sample.query!r}); the last checkpoint is intact."
                    )
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
        return {"loss": loss.item(), **figures}

    def _total_steps(self) -> int:
        a_step = self.accelerator.num_processes * self.config.accumulation
        by_epochs = max(1, round(self.config.epochs * len(self.samples) / a_step))
        return self.config.max_steps or by_epochs

    def _rate(self, update: int) -> float:
        """Share of the peak rate at an update."""
        config = self.config
        total = self.total_steps * config.updates_per_rollout
        if update < config.warmup_steps:
            return (update + 1) / (config.warmup_steps + 1)
        done = (update - config.warmup_steps) / max(1, total - config.warmup_steps)
        if config.schedule == "constant":
            return 1.0
        if config.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return max(0.0, 1 - done)

    def _check_launch(self) -> None:
        found = self.accelerator.num_processes
        if found != self.config.processes:
            raise ConfigError(
                f"The config says processes: {self.config.processes}, but {found} were launched; "
                "make them equal (accelerate launch --num_processes)."
            )
        kind = str(self.accelerator.distributed_type.value)
        if (kind in SHARDED) != (self.config.sharding != "none"):
            raise ConfigError(
                f"The config says sharding: {self.config.sharding}, but accelerate was launched "
                f"as {kind}; choose one of train/configs/accelerate that fits."
            )
