"""The completions of one sample with their rewards, and what is worth watching of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stvg_r1_hub.vlm.inputs import PromptInputs
from train.data.samples import TrainingSample
from train.grpo.objective import LossParts
from train.rewards import is_complete


@dataclass
class Group:
    """G completions of one sample, with all that the loss needs."""

    sample: TrainingSample
    inputs: PromptInputs
    completions: list[Tensor]
    texts: list[str]
    truncated: Tensor
    """`(G,)` bool, True where the longest allowed length came before the end."""
    rewards: dict[str, list[float]]
    """Unweighted, one a completion, by name."""
    totals: Tensor
    """`(G,)` weighted sums."""
    advantages: Tensor
    features: Tensor | None
    """The clip's visual tokens, when the vision tower is frozen."""
    reference_logps: Tensor | None = None
    old_logps: Tensor | None = None
    """Kept from the first update, for the next ones."""
    normalizer: float | None = None
    sampler_logps: Tensor | None = None
    """`(G, L)` as another engine tells them that drew the completions."""

    def counted_tokens(self, *, mask_truncated: bool) -> int:
        """How many tokens the loss is made of."""
        ended = (~self.truncated).tolist()
        return sum(
            len(ids)
            for ids, whole in zip(self.completions, ended, strict=True)
            if whole or not mask_truncated
        )

    def figures(self, parts: LossParts, entropy: float) -> dict[str, float]:
        """What a step logs of this group.

        Args:
            parts: of its loss.
            entropy: mean over its tokens, in nats.
        """
        lengths = [len(ids) for ids in self.completions]
        spread = {name: torch.tensor(v).std().item() for name, v in self.rewards.items()}
        return {
            **{f"reward/{name}": sum(v) / len(v) for name, v in self.rewards.items()},
            **{f"reward_std/{name}": value for name, value in spread.items()},
            "reward": self.totals.mean().item(),
            "reward_std": self.totals.std().item(),
            "all_equal": float((self.advantages == 0).all()),
            "length": sum(lengths) / len(lengths),
            "length_min": min(lengths),
            "length_max": max(lengths),
            "truncated": self.truncated.float().mean().item(),
            "unparsed": sum(not is_complete(text) for text in self.texts) / len(self.texts),
            "entropy": entropy,
            "kl": parts.kl.item(),
            "clipped_low": parts.clipped_low.item(),
            "clipped_high": parts.clipped_high.item(),
            "correction": parts.correction.item(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """The completions for people, best first."""
        return [
            {
                "sample": self.sample.sample_id,
                "query": self.sample.query,
                "right": str(self.sample.truth),
                "completion": self.texts[i],
                "rewards": {name: round(values[i], 4) for name, values in self.rewards.items()},
                "advantage": round(self.advantages[i].item(), 4),
            }
            for i in self.totals.argsort(descending=True).tolist()
        ]
