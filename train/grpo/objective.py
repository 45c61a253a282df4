"""The arithmetic of GRPO: rewards and log-probabilities in, advantages and a loss out.

Pure functions on tensors, without a model. The defaults are those of the official run (trainer of
STVG-R1, XiaowZhang00/stvg-r1 @ 0bea9e5); GRPO itself is from DeepSeekMath (arXiv 2402.03300). The
variants are arguments: no division by the standard deviation and a constant length from Dr. GRPO
(arXiv 2503.20783), token-level averaging and the higher upper clip from DAPO (arXiv 2503.14476).

Letters: G completions of one prompt, L tokens of the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Averaging = Literal["completion", "token", "constant"]
STD_EPSILON = 1e-4


def completion_mask(completion_ids: Tensor, eos_token_id: int) -> Tensor:
    """Which tokens count: all up to and including the first end token.

    Args:
        completion_ids: `(G, L)` generated tokens.
        eos_token_id: the token that ends a completion.

    Returns:
        `(G, L)` bool.
    """
    is_end = completion_ids == eos_token_id
    ends_before = is_end.cumsum(dim=1) - is_end.long()
    return ends_before == 0


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
    clipped_share: Tensor
    """Share of tokens whose ratio was cut."""


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
    averaging: Averaging = "completion",
    normalizer: float | None = None,
) -> LossParts:
    """Clipped policy-gradient loss with a KL penalty.

    A token's loss is `-(min(ratio * A, clip(ratio) * A) - beta * KL)`, its ratio
    `exp(logp - old_logp)`. In the first update after a rollout the ratio is 1: the clip does
    nothing, as in the official run, which does not update twice.

    Args:
        logps: `(G, L)` log-probability of each generated token under the policy.
        advantages: `(G,)`.
        mask: `(G, L)`, True where a token counts.
        old_logps: `(G, L)` at rollout time; None takes `logps` itself without its gradient.
        reference_logps: `(G, L)` under the reference model; None leaves the KL term out.
        beta: weight of the KL term.
        clip_low: the ratio is cut below `1 - clip_low`.
        clip_high: and above `1 + clip_high`.
        averaging: `"completion"`: mean over each completion's tokens, then over completions
            (GRPO); `"token"`: sum over all tokens divided by their number (DAPO);
            `"constant"`: sum divided by a constant (Dr. GRPO).
        normalizer: for `"token"`: the number to divide by when the batch has more groups than
            this one, None counts this group's tokens; for `"constant"`: required, normally G
            times the longest allowed completion.

    Raises:
        ValueError: `"constant"` without a normalizer, or an unknown averaging.
    """
    old = logps.detach() if old_logps is None else old_logps
    ratio = torch.exp(logps - old)
    cut = ratio.clamp(1 - clip_low, 1 + clip_high)
    gain = advantages.unsqueeze(1)
    per_token = -torch.minimum(ratio * gain, cut * gain)
    weights = mask.to(logps.dtype)
    kl = logps.new_zeros(())
    if reference_logps is not None:
        penalty = per_token_kl(logps, reference_logps)
        per_token = per_token + beta * penalty
        kl = _completion_mean(penalty.detach(), weights)
    if averaging == "completion":
        loss = _completion_mean(per_token, weights)
    elif averaging == "token":
        loss = (per_token * weights).sum() / (normalizer or weights.sum().clamp(min=1))
    elif averaging == "constant":
        if not normalizer:
            raise ValueError("averaging='constant' needs a normalizer above 0")
        loss = (per_token * weights).sum() / normalizer
    else:
        raise ValueError(f"averaging must be completion, token or constant, got {averaging!r}")
    cut_tokens = ((ratio * gain > cut * gain) & mask.bool()).sum()
    return LossParts(loss, kl, cut_tokens.to(logps.dtype) / weights.sum().clamp(min=1))


def _completion_mean(values: Tensor, weights: Tensor) -> Tensor:
    per_completion = (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    return per_completion.mean()
