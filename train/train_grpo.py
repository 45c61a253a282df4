"""GRPO: sample answers, reward them, make the better ones more probable.

    python -m train.train_grpo --config train/configs/lora_7b_1gpu.yaml --data prepared --out runs/x
    accelerate launch --config_file train/configs/accelerate/ddp.yaml -m train.train_grpo ...

`--resume` goes on from the last checkpoint, `--dry-run` only says what it would take. The trained
model lands in `<out>/model`, a folder for `STVGPipeline.from_pretrained`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from stvg_r1_hub.vlm.inputs import PromptInputs
from train.data.samples import TrainingSample, as_frames
from train.grpo.objective import group_advantages, grpo_loss
from train.grpo.policy import Policy, split_ragged
from train.grpo.rollout import Asked, Rollout, SamplingSettings, TrainingError
from train.rewards import REWARDS, Completion, Reward
from train.run.command_line import run_training
from train.run.loop import SHARDED
from train.run.start_model import StartModel, load_weights
from train.run.training_config import TrainingConfig

TABLE_ROWS = 4


@dataclass
class Group:
    """G completions of one sample, with all that the loss needs."""

    sample: TrainingSample
    inputs: PromptInputs
    completions: list[Tensor]
    texts: list[str]
    rewards: dict[str, list[float]]
    """Unweighted, one a completion, by name."""
    totals: Tensor
    """`(G,)` weighted sums."""
    advantages: Tensor
    features: Tensor | None
    """The clip's visual tokens, when the vision tower is frozen."""
    reference_logps: Tensor | None
    old_logps: Tensor | None = None
    """Kept from the first update, for the next ones."""
    normalizer: float | None = None


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
        self.bare = start.policy
        self.vision_frozen = config.freeze_vision or self.bare.has_adapter
        self.builder = start.inputs
        sharded = accelerator.distributed_type.value in SHARDED
        self.generating = policy if sharded else self.bare
        self.rollout = Rollout(
            SamplingSettings(config.max_completion_tokens, config.temperature, config.top_p),
            start.eos_token_ids,
            share_prefix=config.share_prefix,
            anyone=self._anyone if sharded else None,
        )
        self.reference: Any = None
        if config.needs_reference and not self.bare.has_adapter:
            self.reference = Policy(load_weights(config, start.bundle)).eval()
            self.reference.requires_grad_(False)
            prepare: Callable[..., Any] = accelerator.prepare_model
            if sharded:
                self.reference = prepare(self.reference, evaluation_mode=True)
            else:
                self.reference = self.reference.to(accelerator.device)

    @torch.no_grad()
    def prepare(self, samples: Sequence[TrainingSample], places: Sequence[int]) -> list[Group]:
        """Completions, rewards, advantages and reference of each sample."""
        self.policy.eval()
        prompts = [self._asked(*pair) for pair in zip(samples, places, strict=True)]
        drawn = self.rollout.generate(self.generating, prompts, self.config.num_generations)
        groups = [self._group(*three) for three in zip(samples, prompts, drawn, strict=True)]
        self.policy.train()
        self._set_normalizers(groups)
        return groups

    def loss(self, group: Group) -> tuple[Tensor, dict[str, float]]:
        """GRPO loss of one group, with its gradient."""
        config = self.config
        flat = self.policy(
            "logps", group.inputs, group.completions, features=group.features,
            share_prefix=config.share_prefix, temperature=config.temperature or 1.0,
        )  # fmt: skip
        logps, mask = split_ragged(flat, group.completions)
        parts = grpo_loss(
            logps,
            group.advantages,
            mask,
            old_logps=group.old_logps,
            reference_logps=group.reference_logps,
            beta=config.beta,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            averaging=config.averaging,
            normalizer=group.normalizer,
        )
        if group.old_logps is None:
            group.old_logps = logps.detach()
        lengths = [len(ids) for ids in group.completions]
        figures = {f"reward/{name}": sum(v) / len(v) for name, v in group.rewards.items()}
        figures |= {
            "reward": group.totals.mean().item(),
            "reward_std": group.totals.std().item(),
            "all_equal": float((group.advantages == 0).all()),
            "length": sum(lengths) / len(lengths),
            "kl": parts.kl.item(),
            "clipped": parts.clipped_share.item(),
        }
        return parts.loss, figures

    def table(self, items: Sequence[Group]) -> list[dict[str, str]]:
        """Best and worst completions of the first groups."""
        rows = []
        for group in items[:TABLE_ROWS]:
            order = group.totals.argsort(descending=True).tolist()
            for i in dict.fromkeys([order[0], order[-1]]):
                parts = ", ".join(f"{name} {v[i]:.2f}" for name, v in group.rewards.items())
                rows.append(
                    {
                        "sample": group.sample.sample_id,
                        "query": group.sample.query,
                        "right": str(group.sample.truth),
                        "completion": group.texts[i],
                        "rewards": parts,
                        "advantage": f"{group.advantages[i].item():+.2f}",
                    }
                )
        return rows

    def _asked(self, sample: TrainingSample, place: int) -> Asked:
        device = self.accelerator.device
        inputs = self.builder.prompt_inputs(
            sample.prompt, as_frames(sample.frames, sample.sample_fps)
        ).to(device)
        generator = torch.Generator(device).manual_seed(_seed(self.config.seed, place))
        return Asked(inputs, self.generating("encode", inputs), generator)

    def _group(self, sample: TrainingSample, prompt: Asked, drawn: Sequence[Tensor]) -> Group:
        config, device = self.config, self.accelerator.device
        inputs, features = prompt.inputs, prompt.features
        completions = [ids.to(device) for ids in drawn]
        texts = self.processor.batch_decode(completions, skip_special_tokens=True)
        mirrored = None
        if "mirror" in config.rewards:
            mirrored = self._mirrored_text(sample, prompt.generator)
        rewards = self._rewards(sample, [Completion(text, mirrored) for text in texts])
        totals = torch.tensor(
            [sum(config.rewards[name] * values[i] for name, values in rewards.items())
             for i in range(len(texts))],
            device=device,
        )  # fmt: skip
        return Group(
            sample=sample,
            inputs=inputs,
            completions=completions,
            texts=texts,
            rewards=rewards,
            totals=totals,
            advantages=group_advantages(totals, scale_by_std=config.scale_by_std),
            features=features if self.vision_frozen else None,
            reference_logps=self._reference(inputs, completions, features),
        )

    def _mirrored_text(self, sample: TrainingSample, generator: torch.Generator) -> str:
        """One answer about the flipped clip, which all completions are compared with."""
        if sample.mirrored_frames is None or sample.mirrored_prompt is None:
            raise TrainingError(
                f"The reward 'mirror' needs the flipped clip of sample {sample.sample_id!r}; "
                "prepare the data with --mirror."
            )
        inputs = self.builder.prompt_inputs(
            sample.mirrored_prompt, as_frames(sample.mirrored_frames, sample.sample_fps)
        ).to(self.accelerator.device)
        features = self.generating("encode", inputs)
        asked = Asked(inputs, features, generator)
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

    def _reference(
        self, inputs: PromptInputs, completions: list[Tensor], features: Tensor
    ) -> Tensor | None:
        """`(G, L)` log-probabilities under the model that training started from."""
        config = self.config
        if not config.needs_reference:
            return None
        # A trained vision tower sees the clip otherwise than the start model's does.
        options = {
            "features": features if self.vision_frozen else None,
            "share_prefix": config.share_prefix,
            "temperature": config.temperature or 1.0,
        }
        if self.reference is not None:
            flat = self.reference("logps", inputs, completions, **options)
        else:
            with self.bare.without_adapter():
                flat = self.generating("logps", inputs, completions, **options)
        return split_ragged(flat, completions)[0]

    def _set_normalizers(self, groups: Sequence[Group]) -> None:
        """What the sum over a group's tokens is divided by, so that the whole batch is averaged."""
        if self.config.averaging == "constant":
            for group in groups:
                group.normalizer = len(group.completions) * self.config.max_completion_tokens
        elif self.config.averaging == "token":
            own = sum(len(ids) for group in groups for ids in group.completions)
            tokens = torch.tensor(float(own), device=self.accelerator.device)
            total = self.accelerator.reduce(tokens, reduction="sum").item()
            # Gradients are averaged over accumulated groups and over processes afterwards.
            shares = len(groups) * self.accelerator.num_processes
            for group in groups:
                group.normalizer = total / shares

    def _anyone(self, mine: bool) -> bool:
        flag = torch.tensor(float(mine), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum").item() > 0)


def _seed(run_seed: int, place: int) -> int:
    """Random numbers of one sample's completions: they depend on nothing but its place."""
    return int(np.random.SeedSequence([run_seed, place]).generate_state(1, np.uint64)[0] >> 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    return run_training(GrpoObjective, __doc__ or "", arguments, groups=True)


if __name__ == "__main__":
    sys.exit(main())
