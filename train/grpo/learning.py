"""GRPO of samples: completions, rewards, advantages and the loss of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from train.data.samples import TrainingSample, as_frames
from train.grpo.engine import Engine, EngineRollout
from train.grpo.group import Group
from train.grpo.objective import group_advantages, grpo_loss
from train.grpo.policy import Policy, split_ragged
from train.grpo.rollout import Asked, Rollout, SamplingSettings, TrainingError
from train.grpo.whole_copy import WholeCopy
from train.rewards import REWARDS, Completion, Reward, is_complete
from train.run.loop import SHARDED
from train.run.start_model import StartModel, load_policy, load_weights
from train.run.training_config import TrainingConfig


class GrpoObjective:
    """Rollout, rewards and loss of groups."""

    method = "GRPO"

    def __init__(
        self,
        config: TrainingConfig,
        start: StartModel,
        policy: Any,
        accelerator: Accelerator,
        *,
        rewards: Mapping[str, Reward] = REWARDS,
    ) -> None:
        """Prepare; `rewards` are the functions that the config's names mean."""
        self.config = config
        self.policy = policy
        self.accelerator = accelerator
        self.processor = start.processor
        self.reward_functions = {name: rewards[name] for name in config.rewards}
        self.vision_frozen = config.freeze_vision or start.policy.has_adapter
        self.builder = start.inputs
        self._place_models(start)
        sampled = SamplingSettings(
            config.max_completion_tokens, config.temperature, config.top_p, config.top_k,
            start.vision_token_ids,
        )  # fmt: skip
        self.engine: Engine | None = None
        if config.engine is not None:
            self.engine = Engine(config.engine, _engine_folder(config, accelerator))
        self.rollout, self.greedy = (
            EngineRollout(settings, self.engine)
            if self.engine is not None
            else Rollout(settings, start.eos_token_ids, share_prefix=config.share_prefix)
            for settings in (sampled, replace(sampled, temperature=0.0))
        )
        self.ends = torch.tensor(start.eos_token_ids, device=accelerator.device)

    def _place_models(self, start: StartModel) -> None:
        """Say which model generates, and which one the KL term compares with."""
        config, device = self.config, self.accelerator.device
        own_reference = config.needs_reference and not start.policy.has_adapter
        self.generating = self.reference = start.policy
        self.whole: WholeCopy | None = None
        # Not through accelerate, which would write them into every checkpoint.
        if self.accelerator.distributed_type.value in SHARDED:
            copy = load_policy(config, start.bundle).to(device)
            self.whole = WholeCopy(copy, start.policy, keep_start=own_reference)
            self.generating = self.reference = copy
        elif own_reference:
            reference = Policy(load_weights(config, start.bundle)).eval()
            self.reference = reference.requires_grad_(False).to(device)

    @torch.no_grad()
    def prepare(self, samples: Sequence[TrainingSample], places: Sequence[int]) -> list[Group]:
        """Completions, rewards, advantages and reference of each sample."""
        self._begin_answering()
        prompts = [self._asked(*pair) for pair in zip(samples, places, strict=True)]
        drawn = self.rollout.generate(self.generating, prompts, self.config.num_generations)
        groups = [self._group(*three) for three in zip(samples, prompts, drawn, strict=True)]
        if self.config.needs_reference:
            if self.whole is not None:
                self.whole.take_start()
            for group in groups:
                group.reference_logps = self._reference(group)
        self.policy.train()
        self._set_normalizers(groups)
        return groups

    def loss(self, group: Group) -> tuple[Tensor, dict[str, float]]:
        """GRPO loss of one group, with its gradient."""
        config = self.config
        flat, entropies = self.policy(
            "logps", group.inputs, group.completions, features=group.features,
            share_prefix=config.share_prefix, temperature=config.temperature or 1.0,
        )  # fmt: skip
        logps, mask = split_ragged(flat, group.completions)
        if config.mask_truncated_completions:
            mask = mask & ~group.truncated.unsqueeze(1)
        parts = grpo_loss(
            logps,
            group.advantages,
            mask,
            old_logps=group.old_logps,
            reference_logps=group.reference_logps,
            beta=config.beta,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            loss_type=config.loss_type,
            importance_sampling_level=config.importance_sampling_level,
            normalizer=group.normalizer,
            sampler_logps=group.sampler_logps,
            correction_cap=config.correction_cap,
        )
        if group.old_logps is None:
            group.old_logps = logps.detach()
        return parts.loss, group.figures(parts, entropies.mean().item())

    @torch.no_grad()
    def validate(self, samples: Sequence[TrainingSample]) -> list[dict[str, float]]:
        """Rewards of the most probable answer to each sample."""
        self._begin_answering()
        prompts = [self._asked(sample, 0) for sample in samples]
        drawn = self.greedy.generate(self.generating, prompts, 1)
        found = []
        for sample, prompt, (ids,) in zip(samples, prompts, drawn, strict=True):
            (completion,) = self._completions(sample, prompt, [ids])
            values = {name: value for name, (value,) in self._rewards(sample, [completion]).items()}
            total = sum(self.config.rewards[name] * value for name, value in values.items())
            parts = {f"reward/{name}": value for name, value in values.items()}
            unparsed = float(not is_complete(completion.text))
            found.append({"reward": total, **parts, "unparsed": unparsed})
        self.policy.train()
        return found

    def rows(self, items: Sequence[Group]) -> list[dict[str, Any]]:
        """All completions, those of a sample best first."""
        return [row for group in items for row in group.rows()]

    def _begin_answering(self) -> None:
        self.generating.eval()
        if self.whole is not None:
            self.whole.take_policy()
        if self.engine is not None:
            if self.accelerator.is_main_process:
                self.engine.take_weights(self.generating)
            self.accelerator.wait_for_everyone()

    def _asked(self, sample: TrainingSample, place: int) -> Asked:
        device = self.accelerator.device
        frames = as_frames(sample.frames, sample.sample_fps)
        inputs = self.builder.prompt_inputs(sample.prompt, frames).to(device)
        generator = torch.Generator(device).manual_seed(_seed(self.config.seed, place))
        features = self.generating("encode", inputs)
        return Asked(inputs, features, generator, sample.prompt, frames)

    def _group(self, sample: TrainingSample, prompt: Asked, drawn: Sequence[Tensor]) -> Group:
        config, device = self.config, self.accelerator.device
        inputs, features = prompt.inputs, prompt.features
        completions = [ids.to(device) for ids in drawn]
        answers = self._completions(sample, prompt, completions)
        rewards = self._rewards(sample, answers)
        totals = torch.tensor(
            [sum(config.rewards[name] * values[i] for name, values in rewards.items())
             for i in range(len(answers))],
            device=device,
        )  # fmt: skip
        sampled_logps = None
        if prompt.sampler_logps:
            flat = torch.cat(prompt.sampler_logps).to(device)
            sampled_logps = split_ragged(flat, completions)[0]
        return Group(
            sample=sample,
            inputs=inputs,
            completions=completions,
            texts=[answer.text for answer in answers],
            truncated=torch.stack([~torch.isin(ids[-1], self.ends) for ids in completions]),
            rewards=rewards,
            totals=totals,
            advantages=group_advantages(totals, scale_by_std=config.scale_by_std),
            features=features if self.vision_frozen else None,
            sampler_logps=sampled_logps,
        )

    def _completions(
        self, sample: TrainingSample, prompt: Asked, drawn: Sequence[Tensor]
    ) -> list[Completion]:
        """What was drawn, as text."""
        texts = self.processor.batch_decode(drawn, skip_special_tokens=True)
        mirrored = None
        if "mirror" in self.config.rewards:
            mirrored = self._mirrored_text(sample, prompt.generator)
        return [Completion(text, mirrored) for text in texts]

    def _mirrored_text(self, sample: TrainingSample, generator: torch.Generator) -> str:
        """One answer about the flipped clip, which all completions are compared with."""
        if sample.mirrored_frames is None or sample.mirrored_prompt is None:
            raise TrainingError(
                f"The reward 'mirror' needs the flipped clip of sample {sample.sample_id!r}; "
                "prepare the data with --mirror."
            )
        frames = as_frames(sample.mirrored_frames, sample.sample_fps)
        inputs = self.builder.prompt_inputs(sample.mirrored_prompt, frames)
        inputs = inputs.to(self.accelerator.device)
        features = self.generating("encode", inputs)
        asked = Asked(inputs, features, generator, sample.mirrored_prompt, frames)
        (ids,) = self.rollout.generate(self.generating, [asked], 1)
        text: str = self.processor.batch_decode(ids, skip_special_tokens=True)[0]
        return text

    def _rewards(
        self, sample: TrainingSample, completions: Sequence[Completion]
    ) -> dict[str, list[float]]:
        rewards = {}
        for name, function in self.reward_functions.items():
            try:
                rewards[name] = [float(function(one, sample.truth)) for one in completions]
            except Exception as error:
                raise TrainingError(
                    f"The reward {name!r} raised {type(error).__name__} at sample "
                    f"{sample.sample_id!r}: {error}"
                ) from error
            if not np.isfinite(rewards[name]).all():
                raise TrainingError(
                    f"The reward {name!r} is not finite at sample {sample.sample_id!r}."
                )
        return rewards

    def _reference(self, group: Group) -> Tensor:
        """`(G, L)` log-probabilities under the model that training started from."""
        config = self.config
        with self.reference.without_adapter():
            # A trained vision tower sees the clip otherwise than the start model's does.
            flat, _ = self.reference(
                "logps", group.inputs, group.completions, features=group.features,
                share_prefix=config.share_prefix, temperature=config.temperature or 1.0,
            )  # fmt: skip
        return split_ragged(flat, group.completions)[0]

    def _set_normalizers(self, groups: Sequence[Group]) -> None:
        """What the sum over a group's tokens is divided by, so that the whole batch is averaged."""
        if self.config.loss_type == "dr_grpo":
            for group in groups:
                group.normalizer = len(group.completions) * self.config.max_completion_tokens
        elif self.config.loss_type == "dapo":
            masked = self.config.mask_truncated_completions
            own = sum(group.counted_tokens(mask_truncated=masked) for group in groups)
            tokens = torch.tensor(float(own), device=self.accelerator.device)
            total = self.accelerator.reduce(tokens, reduction="sum").item()
            # Gradients are averaged over accumulated groups and over processes afterwards.
            shares = len(groups) * self.accelerator.num_processes
            for group in groups:
                group.normalizer = max(total, 1.0) / shares


def _engine_folder(config: TrainingConfig, accelerator: Accelerator) -> Path:
    """Where an engine reads weights: as the config says, or in the run's own folder."""
    return Path(config.engine_folder or Path(accelerator.project_dir) / "engine")


def _seed(run_seed: int, place: int) -> int:
    """Random numbers of one sample's completions: they depend on nothing but its place."""
    return int(np.random.SeedSequence([run_seed, place]).generate_state(1, np.uint64)[0] >> 1)
