"""The arithmetic of GRPO beyond the golden cases, with numbers worked by hand."""

import math
import typing

import pytest
import torch

from train.grpo.objective import LossType, RatioLevel, group_advantages, grpo_loss, per_token_kl


@pytest.mark.parametrize("value", [0.0, 0.1, 2.9, 1e6])
def test_equal_rewards_teach_nothing(value):
    for scale in (True, False):
        advantages = group_advantages(torch.full((8,), value), scale_by_std=scale)
        assert advantages.tolist() == [0.0] * 8
    assert group_advantages(torch.tensor([value])).tolist() == [0.0]


def test_advantages():
    rewards = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
    assert group_advantages(rewards).tolist() == pytest.approx([-2 / 2.0001, 0, 2 / 2.0001])
    assert group_advantages(rewards, scale_by_std=False).tolist() == [-2, 0, 2]


def test_kl_is_zero_only_where_both_agree():
    kl = per_token_kl(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0]))
    assert kl.tolist() == pytest.approx([0, math.exp(-1) + 1 - 1])


def test_ratio_is_cut_only_where_it_would_gain():
    logps = torch.log(torch.tensor([[1.5], [1.5], [0.5], [0.5]])).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    mask = torch.ones(4, 1, dtype=torch.bool)
    parts = grpo_loss(logps, advantages, mask, old_logps=torch.zeros(4, 1), clip_high=0.3)
    assert parts.loss.item() == pytest.approx(-(1.3 - 1.5 + 0.5 - 0.8) / 4)
    parts.loss.backward()
    assert [bool(g) for g in logps.grad[:, 0]] == [False, True, True, False]
    assert (parts.clipped_low.item(), parts.clipped_high.item()) == (0.25, 0.25)


def documented_loss(
    logps, old, reference, advantages, mask, *, name, level, most, batch_tokens, sampler, cap
):
    """The formulas of trl's documentation, completion by completion in plain Python.

    https://huggingface.co/docs/trl/grpo_trainer ("Computing the loss", "Loss types") and, for the
    ratio of a sequence, equation 7 of GSPO (arXiv 2507.18071). trl's defaults: both clips 0.2.
    With a sampler, "Truncated importance sampling" of the same page: the surrogate of a token, not
    its KL, times min(pi_old / pi_sampler, C).
    """
    terms = []
    for i, advantage in enumerate(advantages):
        counted = [t for t in range(len(mask[i])) if mask[i][t]]
        differences = [logps[i][t] - old[i][t] for t in counted]
        row = []
        for t, difference in zip(counted, differences, strict=True):
            if level == "sequence":
                difference = sum(differences) / len(differences)
            ratio = torch.exp(difference)
            cut = min(max(ratio, 1 - 0.2), 1 + 0.2)
            ahead = reference[i][t] - logps[i][t]
            kl = torch.exp(ahead) - ahead - 1
            surrogate = min(ratio * advantage, cut * advantage)
            if sampler is not None:
                surrogate = surrogate * min(torch.exp(old[i][t] - sampler[i][t]), cap)
            row.append(-(surrogate - 0.04 * kl))
        terms.append(row)
    if name == "grpo":
        return sum(sum(row) / max(len(row), 1) for row in terms) / len(terms)
    everything = sum(sum(row) for row in terms)
    own = sum(len(row) for row in terms)
    return everything / {"bnpo": own, "dapo": batch_tokens, "dr_grpo": len(terms) * most}[name]


@pytest.mark.parametrize("sampled", [False, True], ids=["by the policy", "by an engine"])
@pytest.mark.parametrize("truncated", [False, True], ids=["all", "a truncated one masked"])
@pytest.mark.parametrize("level", typing.get_args(RatioLevel))
@pytest.mark.parametrize("name", typing.get_args(LossType))
def test_losses_and_their_gradients_are_those_of_the_documentation(name, level, truncated, sampled):
    generator = torch.Generator().manual_seed(3)
    parts = [-torch.rand(4, 6, generator=generator, dtype=torch.float64) for _ in range(3)]
    mask = torch.arange(6) < torch.tensor([[6], [2], [4], [1]])
    if truncated:
        mask[0] = False
    advantages = torch.tensor([1.5, -0.5, -1.2, 0.2], dtype=torch.float64)
    sampler = parts[1] + 2 * torch.randn(4, 6, generator=generator, dtype=torch.float64)
    sampler = sampler if sampled else None
    normalizer = {"dapo": 17.0, "dr_grpo": 4 * 50.0}.get(name)

    def gradient(loss, logps):
        (found,) = torch.autograd.grad(loss, logps)
        return loss.item(), found

    ours, theirs = (parts[0].clone().requires_grad_() for _ in range(2))
    loss = grpo_loss(
        ours, advantages, mask, old_logps=parts[1], reference_logps=parts[2], loss_type=name,
        importance_sampling_level=level, normalizer=normalizer, sampler_logps=sampler,
        correction_cap=1.5,
    ).loss  # fmt: skip
    documented = documented_loss(
        theirs, parts[1], parts[2], advantages, mask.tolist(), name=name, level=level, most=50,
        batch_tokens=17, sampler=sampler, cap=1.5,
    )  # fmt: skip
    (value, ours), (right, theirs) = gradient(loss, ours), gradient(documented, theirs)
    assert value == pytest.approx(right, rel=1e-12)
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    assert not ours[~mask].any() and ours[mask].any()


def test_a_loss_that_cannot_be_computed_is_refused():
    given = torch.zeros(2, 3), torch.zeros(2), torch.ones(2, 3, dtype=torch.bool)
    for wrong, message in (
        ({"loss_type": "dr_grpo"}, "needs a normalizer"),
        ({"loss_type": "mean"}, "'mean'"),
        ({"importance_sampling_level": "word"}, "'word'"),
    ):
        with pytest.raises(ValueError, match=message):
            grpo_loss(*given, **wrong)


def test_an_empty_completion_is_no_nan():
    parts = grpo_loss(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2, dtype=torch.bool))
    assert parts.loss.item() == 0
