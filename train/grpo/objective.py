"""The arithmetic of GRPO: rewards and log-probabilities in, advantages and a loss out.

Pure functions on tensors, without a model. The defaults are those of the official run (trainer of
STVG-R1, XiaowZhang00/stvg-r1 @ 0bea9e5); GRPO itself is from DeepSeekMath (arXiv 2402.03300). The
variants are arguments, named as in trl: no division by the standard deviation and a constant length
from Dr. GRPO (arXiv 2503.20783), token-level averaging and the higher upper clip from DAPO (arXiv
2503.14476), averaging over a group's own tokens (trl's `bnpo`), and one ratio a sequence from GSPO
(arXiv 2507.18071).

Letters: G completions of one prompt, L tokens of the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LossType = Literal["grpo", "bnpo", "dapo", "dr_grpo"]
RatioLevel = Literal["token", "sequence"]
STD_EPSILON = 1e-4


def group_advantages(rewards: Tensor, *, scale_by_std: bool = True) -> Tensor:
    """How much better each completion is than the others of its prompt.

    `(r - mean) / (std + 1e-4)` with the sample standard deviation; without the division for
    Dr. GRPO. A group whose rewards are all equal, or that has one member, gets exact zeros.

    Args:
        rewards: `(..., G)` total reward of each completion.
        scale_by_std: divide by the standard deviation of the group.

    Returns:
        `(..., G)`, same dtype.
    """
    centered = rewards - rewards.mean(dim=-1, keepdim=True)
    all_equal = rewards.amax(dim=-1, keepdim=True) == rewards.amin(dim=-1, keepdim=True)
    if scale_by_std and rewards.shape[-1] > 1:
        centered = centered / (rewards.std(dim=-1, keepdim=True) + STD_EPSILON)
    return centered.masked_fill(all_equal, 0.0)


def per_token_kl(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """Estimate of KL(policy || reference) at each token: `exp(d) - d - 1`, `d = ref - policy`.

    Never negative, unbiased; Schulman's "k3" (joschu.net/blog/kl-approx.html).
    """
    difference = reference_logps - logps
    return torch.exp(difference) - difference - 1


@dataclass(frozen=True)
class LossParts:
    """A loss with what is worth watching beside it; all scalars, only `loss` has a gradient."""

    loss: Tensor
    kl: Tensor
    """Mean over completions of the mean over their tokens; 0 without a reference."""
    clipped_low: Tensor
    """Share of tokens of worse completions whose ratio was cut at `1 - clip_low`."""
    clipped_high: Tensor
    """Share of tokens of better completions whose ratio was cut at `1 + clip_high`."""
    correction: Tensor
    """Mean over tokens of the policy's probability by the sampler's, cut; 1 where they agree."""


def grpo_loss(
    logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    old_logps: Tensor | None = None,
    reference_logps: Tensor | None = None,
    beta: float = 0.04,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    loss_type: LossType = "grpo",
    importance_sampling_level: RatioLevel = "token",
    normalizer: float | None = None,
    sampler_logps: Tensor | None = None,
    correction_cap: float = 2.0,
) -> LossParts:
    """Clipped policy-gradient loss with a KL penalty.

    A token's loss is `-min(ratio * A, clip(ratio) * A) + beta * KL`, its ratio
    `exp(logp - old_logp)`. In the first update after a rollout the ratio is 1: the clip does
    nothing, as in the official run, which does not update twice.

    Where another engine drew the tokens, its probabilities are a little different ones. Then the
    gain is multiplied by `min(exp(old_logp - sampler_logp), cap)`, truncated importance sampling as
    in trl (`vllm_importance_sampling_correction`, token by token).

    Args:
        logps: `(G, L)` log-probability of each generated token under the policy.
        advantages: `(G,)`.
        mask: `(G, L)`, True where a token counts.
        old_logps: `(G, L)` at rollout time; None takes `logps` itself without its gradient.
        reference_logps: `(G, L)` under the reference model; None leaves the KL term out.
        beta: weight of the KL term.
        clip_low: the ratio is cut below `1 - clip_low`.
        clip_high: and above `1 + clip_high`.
        loss_type: `"grpo"`: mean over each completion's tokens, then over completions; `"bnpo"`:
            sum over the group's tokens divided by their number; `"dapo"`: divided by the
            normalizer, the mean number of a group's tokens in the whole batch; `"dr_grpo"`:
            divided by the normalizer, a constant.
        importance_sampling_level: `"sequence"` gives all tokens of a completion the ratio
            `exp(mean(logp - old_logp))`.
        normalizer: required for `"dapo"` and `"dr_grpo"`.
        sampler_logps: `(G, L)` as the engine that drew the tokens tells them; None: the policy did.
        correction_cap: the most by which a token's gain is multiplied for that.

    Raises:
        ValueError: such a loss without a normalizer, or an unknown loss or level.
    """
    weights = mask.to(logps.dtype)
    old = logps.detach() if old_logps is None else old_logps
    log_ratio = logps - old
    if importance_sampling_level == "sequence":
        log_ratio = _row_means(log_ratio, weights).unsqueeze(1).expand_as(logps)
    elif importance_sampling_level != "token":
        raise ValueError(
            "importance_sampling_level must be token or sequence, got "
            f"{importance_sampling_level!r}"
        )
    ratio = torch.exp(log_ratio)
    gain = advantages.unsqueeze(1)
    per_token = -torch.minimum(ratio * gain, ratio.clamp(1 - clip_low, 1 + clip_high) * gain)
    count = weights.sum().clamp(min=1)
    kl, correction = logps.new_zeros(()), logps.new_ones(())
    if sampler_logps is not None:
        corrections = torch.exp(old - sampler_logps).clamp(max=correction_cap)
        per_token = per_token * corrections
        correction = (corrections * weights).sum() / count
    if reference_logps is not None:
        penalty = per_token_kl(logps, reference_logps)
        per_token = per_token + beta * penalty
        kl = _row_means(penalty.detach(), weights).mean()
    if loss_type == "grpo":
        loss = _row_means(per_token, weights).mean()
    elif loss_type == "bnpo":
        loss = (per_token * weights).sum() / count
    elif loss_type in ("dapo", "dr_grpo"):
        if not normalizer:
            raise ValueError(f"loss_type={loss_type!r} needs a normalizer above 0")
        loss = (per_token * weights).sum() / normalizer
    else:
        raise ValueError(f"loss_type must be grpo, bnpo, dapo or dr_grpo, got {loss_type!r}")
    low = ((ratio < 1 - clip_low) & (gain < 0) & mask).sum() / count
    high = ((ratio > 1 + clip_high) & (gain > 0) & mask).sum() / count
    return LossParts(loss, kl, low, high, correction)


def _row_means(values: Tensor, weights: Tensor) -> Tensor:
    """`(G,)` weighted mean of each row; 0 where nothing counts."""
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
