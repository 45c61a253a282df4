"""One shared prefix gives the losses, gradients and completions of G separate sequences."""

import typing

import pytest
import torch

from tests.train import tiny
from train.grpo.objective import grpo_loss
from train.grpo.policy import Policy, packed_owners, split_ragged
from train.grpo.rollout import Asked, Rollout, SamplingSettings, TrainingError, _draw
from train.run.training_config import TrainingConfig

RAGGED = (5, 1, 9, 3)


def policy_with(*, lora):
    model = tiny.model()
    if lora:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model.*_proj")
        model = get_peft_model(model, config)
        torch.manual_seed(1)
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # these start at 0: the adapter would not do anything
                torch.nn.init.normal_(weight, std=0.05)
    return Policy(model)


def loss_and_gradients(policy, question, completions, *, share_prefix, kl, updated):
    """One GRPO loss with everything in it, and the gradient of every trained weight."""
    policy.zero_grad()
    options = {"share_prefix": share_prefix}
    reference = old = None
    with torch.no_grad():
        if kl:
            with policy.without_adapter():
                reference = policy("logps", question, completions, **options)[0]
            # Without an adapter the reference would be the policy itself: move it away.
            reference = reference - 0.3
        if updated:
            old = policy("logps", question, completions, **options)[0] + 0.1
    logps, mask = split_ragged(policy("logps", question, completions, **options)[0], completions)
    parts = grpo_loss(
        logps,
        torch.tensor([1.2, -0.7, 0.4, -0.9]),
        mask,
        old_logps=None if old is None else split_ragged(old, completions)[0],
        reference_logps=None if reference is None else split_ragged(reference, completions)[0],
    )
    parts.loss.backward()
    return parts.loss.detach(), logps.detach(), {
        name: weight.grad.clone() for name, weight in policy.named_parameters()
        if weight.grad is not None
    }  # fmt: skip


def relative(a, b):
    return ((a - b).norm() / b.norm().clamp(min=1e-12)).item()


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("kl", [False, True])
@pytest.mark.parametrize("updated", [False, True])
def test_losses_and_gradients_agree(lora, kl, updated):
    policy = policy_with(lora=lora)
    question, completions = tiny.question(policy.qwen), tiny.ragged(RAGGED)
    shared, plain = (
        loss_and_gradients(
            policy, question, completions, share_prefix=share, kl=kl, updated=updated
        )
        for share in (True, False)
    )
    assert relative(shared[0], plain[0]) < 1e-5
    assert relative(shared[1], plain[1]) < 1e-5
    assert shared[2].keys() == plain[2].keys()
    assert len(shared[2]) >= (14 if lora else 50)
    for name, gradient in plain[2].items():
        assert gradient.abs().max() > 0 or "k_proj.bias" in name, name
        assert relative(shared[2][name], gradient) < 1e-5 or "k_proj.bias" in name, name


def test_the_vision_tower_learns_through_the_shared_prefix():
    policy = policy_with(lora=False)
    question, completions = tiny.question(policy.qwen), tiny.ragged(RAGGED)
    _, _, gradients = loss_and_gradients(
        policy, question, completions, share_prefix=True, kl=False, updated=False
    )
    assert any("visual" in name and g.abs().max() > 0 for name, g in gradients.items())


def test_gradient_checkpointing_changes_nothing():
    policy = policy_with(lora=False)
    question, completions = tiny.question(policy.qwen), tiny.ragged(RAGGED)
    run = {"share_prefix": True, "kl": False, "updated": False}
    _, before, plain = loss_and_gradients(policy, question, completions, **run)
    policy.train()
    policy.qwen.gradient_checkpointing_enable({"use_reentrant": False})
    _, after, checkpointed = loss_and_gradients(policy, question, completions, **run)
    assert torch.equal(before, after)
    assert all(relative(checkpointed[name], plain[name]) < 1e-5 for name in plain)


def test_a_completion_does_not_see_the_others():
    policy = policy_with(lora=False)
    question, completions = tiny.question(policy.qwen), tiny.ragged(RAGGED)
    with torch.no_grad():
        together = policy("logps", question, completions)[0].split(list(RAGGED))
        for alone, ids in zip(together, completions, strict=True):
            assert torch.allclose(policy("logps", question, [ids])[0], alone, atol=1e-5)
    other = [completions[0], *tiny.ragged(RAGGED, seed=9)[1:]]
    with torch.no_grad():
        assert torch.allclose(policy("logps", question, other)[0][:5], together[0], atol=1e-5)


def test_temperature_scales_the_logits():
    policy = policy_with(lora=False)
    question, completions = tiny.question(policy.qwen), tiny.ragged(RAGGED)
    with torch.no_grad():
        warm, entropies = policy("logps", question, completions, temperature=100.0)
    vocabulary = policy.qwen.lm_head.out_features
    evenly = torch.tensor(vocabulary).log().expand(18)
    assert torch.allclose(warm, -evenly, atol=0.2)
    assert torch.allclose(entropies, evenly, atol=0.01) and not entropies.requires_grad


def test_top_k_draws_the_most_probable_tokens_alone():
    logits = torch.arange(40.0).expand(200, 40) / 20
    settings = SamplingSettings(1, top_k=5, forbidden=(39,))
    drawn = _draw(logits, settings, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {34, 35, 36, 37, 38}


@pytest.mark.parametrize("share_prefix", [True, False], ids=["shared", "repeated"])
def test_every_attention_computes_the_same(share_prefix):
    found = {}
    for name in typing.get_args(typing.get_type_hints(TrainingConfig)["attention"]):
        policy = policy_with(lora=False)
        policy.qwen.set_attn_implementation(name)
        question, completions = tiny.question(policy.qwen), tiny.ragged(RAGGED)
        _, logps, _ = loss_and_gradients(
            policy, question, completions, share_prefix=share_prefix, kl=False, updated=False
        )
        drawn = draw(policy.eval(), question, share_prefix=share_prefix)
        found[name] = logps, [ids.tolist() for ids in drawn]
    assert len(found) > 1
    for logps, drawn in found.values():
        assert torch.allclose(logps, found["sdpa"][0], atol=1e-5)
        assert drawn == found["sdpa"][1]


@pytest.mark.parametrize("share_prefix", [True, False], ids=["shared", "repeated"])
def test_a_video_token_in_an_answer_is_a_word_and_rollout_draws_none(share_prefix):
    policy = policy_with(lora=False).eval()
    question, video = tiny.question(policy.qwen), policy.qwen.config.video_token_id
    plain, odd = tiny.ragged((4, 4)), tiny.ragged((4, 4))
    odd[0][2] = video  # as a checkpoint of an older run may have drawn it
    options = {"share_prefix": share_prefix}
    with torch.no_grad():
        before, after = (policy("logps", question, c, **options)[0] for c in (plain, odd))
        assert torch.allclose(before[[0, 1, 4, 5, 6, 7]], after[[0, 1, 4, 5, 6, 7]], atol=1e-5)
        assert torch.isfinite(after).all()
        # A head that prefers the video token to everything else.
        policy.qwen.lm_head = torch.nn.Linear(32, len(tiny.processor().tokenizer), bias=True)
        policy.qwen.lm_head.bias.zero_()[video] = 1e4
    assert all((ids == video).all() for ids in draw(policy, question, **options))
    for temperature in (1.0, 0.0):
        settings = {"forbidden": (video,), "temperature": temperature}
        drawn = torch.cat(draw(policy, question, settings=settings, **options))
        assert not (drawn == video).any()


def test_owners():
    assert packed_owners(2, (1, 3)).tolist() == [-1, -1, 0, 1, 1, 1]


def draw(policy, question, *, n=5, seed=0, eos=(), at_once=None, **options):
    settings = SamplingSettings(**{"max_new_tokens": 12, **options.pop("settings", {})})
    rollout = Rollout(settings, eos, **options)
    rollout.at_once = at_once
    with torch.no_grad():
        features = policy("encode", question)
    generator = torch.Generator().manual_seed(seed)
    return rollout.generate(policy, [Asked(question, features, generator)], n)[0]


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.7}, {"temperature": 0.5}, {"top_k": 3}])
def test_shared_and_plain_rollout_draw_the_same(settings):
    policy = policy_with(lora=False).eval()
    question = tiny.question(policy.qwen)
    everything = torch.cat(draw(policy, question, settings=settings))
    eos = everything.unique()[::7].tolist()  # so that some completions end early
    shared = draw(policy, question, eos=eos, settings=settings)
    plain = draw(policy, question, eos=eos, settings=settings, share_prefix=False)
    assert [ids.tolist() for ids in shared] == [ids.tolist() for ids in plain]
    lengths = [len(ids) for ids in shared]
    assert min(lengths) < 12
    for ids in shared:
        assert not torch.isin(ids[:-1], torch.tensor(eos)).any()
        assert len(ids) == 12 or ids[-1].item() in eos


def test_greedy_rollout_is_what_the_library_generates():
    policy = policy_with(lora=False).eval()
    question = tiny.question(policy.qwen)
    ours = draw(policy, question, n=2, settings={"temperature": 0.0})
    assert ours[0].tolist() == ours[1].tolist()
    with torch.no_grad():
        embeds = policy._embed(question.input_ids[None], policy("encode", question), len(question))
        theirs = policy.qwen.generate(
            inputs_embeds=embeds,
            input_ids=question.input_ids[None],
            position_ids=question.position_ids.unsqueeze(1),
            attention_mask=torch.ones(1, len(question), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
        )
    assert theirs[0, -12:].tolist() == ours[0].tolist()


def test_rollout_probabilities_are_those_of_the_loss_pass():
    policy = policy_with(lora=False).eval()
    question = tiny.question(policy.qwen)
    probabilities = []

    def listening(task, *args, **options):
        logits = policy(task, *args, **options)
        if task == "extend":
            probabilities.append(logits[0].log_softmax(-1))
        return logits

    with torch.no_grad():
        features = policy("encode", question)
        generator = torch.Generator().manual_seed(0)
        settings = SamplingSettings(max_new_tokens=6)
        asked = Asked(question, features, generator)
        (completions,) = Rollout(settings, ()).generate(listening, [asked], 3)
        logps = policy("logps", question, completions)[0].split([6, 6, 6])
    for i, ids in enumerate(completions):
        drawn = [step[min(i, len(step) - 1), ids[j]] for j, step in enumerate(probabilities)]
        assert torch.allclose(torch.stack(drawn), logps[i], atol=1e-4)


def asked_questions(policy):
    """Three prompts of different lengths about different clips, each with its own numbers."""
    found = []
    for i, prompt in enumerate(("Find it.", "Find the dog that jumps.", "Where?")):
        question = tiny.question(policy.qwen, prompt=prompt, frames=4 + 2 * i, seed=i)
        with torch.no_grad():
            features = policy("encode", question)
        found.append(Asked(question, features, torch.Generator().manual_seed(i)))
    return found


def drawn(policy, prompts, *, n=4, at_once=None, eos=()):
    rollout = Rollout(SamplingSettings(max_new_tokens=12), eos)
    rollout.at_once = at_once
    groups = rollout.generate(policy, prompts, n)
    return [[ids.tolist() for ids in group] for group in groups]


def test_groups_drawn_together_are_those_drawn_alone():
    policy = policy_with(lora=False).eval()
    everything = torch.tensor(drawn(policy, asked_questions(policy)))
    eos = everything.unique()[::9].tolist()  # so that completions and groups end at different times
    alone = [drawn(policy, [asked], eos=eos)[0] for asked in asked_questions(policy)]
    lengths = {len(ids) for group in alone for ids in group}
    assert len(lengths) > 3 and max(lengths) == 12
    assert drawn(policy, asked_questions(policy), eos=eos) == alone
    two_groups = drawn(policy, asked_questions(policy), eos=eos, at_once=9)
    assert two_groups == alone
    halves = drawn(policy, asked_questions(policy), at_once=2)
    assert halves == [drawn(policy, [a], at_once=2)[0] for a in asked_questions(policy)]


def test_groups_side_by_side_cost_one_pass_a_token():
    policy, passes = policy_with(lora=False).eval(), []

    def counting(task, ids, *args, **options):
        passes.append(ids.shape[1])
        return policy(task, ids, *args, **options)

    prompts = asked_questions(policy)
    Rollout(SamplingSettings(max_new_tokens=12), ()).generate(counting, prompts, 4)
    assert passes == [*(len(asked.inputs) for asked in prompts), *[12] * 11]


def test_out_of_memory_halves_the_batch(caplog):
    policy = policy_with(lora=False).eval()
    question = tiny.question(policy.qwen)
    with torch.no_grad():
        features = policy("encode", question)

    def run(most):
        def small(task, ids, *args, **options):
            if task == "extend" and most < ids.numel() < 10:
                raise torch.OutOfMemoryError("pretend")
            return policy(task, ids, *args, **options)

        rollout = Rollout(SamplingSettings(max_new_tokens=6), ())
        generator = torch.Generator().manual_seed(3)
        return rollout, rollout.generate(small, [Asked(question, features, generator)], 6)[0]

    rollout, completions = run(most=3)
    assert rollout.at_once == 3
    assert len(completions) == 6
    assert "3 at once" in caplog.text
    halves = draw(policy, question, n=6, at_once=3, seed=3, settings={"max_new_tokens": 6})
    assert [ids.tolist() for ids in completions] == [ids.tolist() for ids in halves]
    assert run(most=2)[0].at_once == 2
    with pytest.raises(TrainingError, match="num_generations"):
        run(most=0)
