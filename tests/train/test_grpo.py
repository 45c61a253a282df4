"""The arithmetic of GRPO beyond the golden cases, with numbers worked by hand."""

import math

import pytest
import torch

from train.grpo.objective import completion_mask, group_advantages, grpo_loss, per_token_kl


def test_completion_ends_with_its_first_end_token():
    ids = torch.tensor([[5, 9, 9, 5], [9, 5, 5, 5], [5, 5, 5, 5]])
    assert completion_mask(ids, 9).int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]


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
    assert parts.clipped_share.item() == 0.5


def test_averaging():
    logps = torch.zeros(2, 3)
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]]).bool()
    advantages = torch.tensor([1.0, -2.0])

    def loss(averaging, normalizer=None):
        parts = grpo_loss(logps, advantages, mask, averaging=averaging, normalizer=normalizer)
        return parts.loss.item()

    assert loss("completion") == pytest.approx((-1 + 2) / 2)
    assert loss("token") == pytest.approx((-1 + 6) / 4)
    assert loss("token", 10) == pytest.approx((-1 + 6) / 10)
    assert loss("constant", 2 * 50) == pytest.approx((-1 + 6) / 100)
    with pytest.raises(ValueError, match="normalizer"):
        loss("constant")
    with pytest.raises(ValueError, match="'mean'"):
        loss("mean")


def test_an_empty_completion_is_no_nan():
    parts = grpo_loss(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2, dtype=torch.bool))
    assert parts.loss.item() == 0
