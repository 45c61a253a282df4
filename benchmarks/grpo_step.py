"""One GRPO step with the prefix repeated for each completion, and with one shared prefix.

    python -m benchmarks.grpo_step                # on a GPU: 7B-shaped layers, as many as fit
    python -m benchmarks.grpo_step --layers 2 --hidden 128    # on a CPU: the default there

Both layouts run in this one process at the official shape: 1,820 video tokens, 260 text tokens,
8 completions of 200 tokens. Tokens and vision passes are counted as they happen, FLOPs by torch's
counter; weights are random, which changes none of the figures.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from stvg_r1_hub.vlm.inputs import PromptInputs, VideoGrid, VideoInputs
from train.grpo.policy import Policy
from train.grpo.rollout import Asked, Rollout, SamplingSettings

GRID = (20, 14, 26)
TEXT_TOKENS, GENERATIONS, PROMPTS = 260, 8, 4
VIDEO_TOKEN, VOCABULARY = 5, 2000


class Counted:
    """What passes through a model: tokens of the decoder, passes of the vision tower."""

    def __init__(self, policy):
        self.tokens = self.vision_passes = 0
        policy.qwen.model.language_model.register_forward_pre_hook(self._decoder, with_kwargs=True)
        policy.qwen.model.visual.register_forward_pre_hook(self._vision)

    def _decoder(self, module, args, kwargs):
        self.tokens += kwargs["inputs_embeds"].shape[:2].numel()

    def _vision(self, module, args):
        self.vision_passes += 1

    def take(self):
        counts = self.tokens, self.vision_passes
        self.tokens = self.vision_passes = 0
        return counts


class Kept:
    """Bytes that the forward pass keeps for the backward pass, weights not counted."""

    def __init__(self, policy):
        self.weights = {weight.untyped_storage().data_ptr() for weight in policy.parameters()}
        self.storages = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept)

    def _keep(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def gigabytes(self):
        return sum(self.storages.values()) / 1e9


def build_model(layers, hidden, device, **tokens):
    """A random Qwen2.5-VL whose layers have the proportions of the 7B model's, made on the device.

    `tokens` names the IDs of special tokens, as Qwen2_5_VLConfig does.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    seven_b = hidden == 3584
    head = 128 if seven_b else 32
    kv_heads = 4 if seven_b else max(1, hidden // head // 4)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 152064 if seven_b else VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": 18944 if seven_b else 4 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": hidden // head,
            "bos_token_id": None,
            "eos_token_id": None,
            "num_key_value_heads": kv_heads,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24] if seven_b else [4, 6, 6],
            },
        },
        vision_config={
            "depth": layers if not seven_b else 32,
            "hidden_size": 1280 if seven_b else hidden,
            "intermediate_size": 3420 if seven_b else 3 * hidden,
            "num_heads": 16 if seven_b else hidden // 32,
            "out_hidden_size": hidden,
            "window_size": 112,
            "tokens_per_second": 2,
            "fullatt_block_indexes": [7, 15, 23, 31] if seven_b else [layers - 1],
        },
        **({"video_token_id": VIDEO_TOKEN} | tokens),
    )
    with torch.device(device):
        torch.manual_seed(0)
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        return Qwen2_5_VLForConditionalGeneration._from_config(
            config, attn_implementation="sdpa", dtype=dtype
        )


def build_question(policy, device, share_of_frames):
    """The official shape: text, then the video, then the start of the answer."""
    grid = (max(1, round(GRID[0] * share_of_frames)), *GRID[1:])
    n_visual = grid[0] * grid[1] * grid[2] // 4
    ids = torch.full((TEXT_TOKENS + n_visual,), 7)
    ids[-n_visual - 8 : -8] = VIDEO_TOKEN
    patch = 3 * 2 * 14 * 14
    return PromptInputs(
        input_ids=ids,
        position_ids=torch.arange(len(ids)).expand(3, -1),
        next_position=len(ids),
        video=VideoInputs(
            torch.randn(grid[0] * grid[1] * grid[2], patch), VideoGrid(grid, second_per_step=1.0)
        ),
    ).to(device)


def timed(function, device):
    """Seconds of a call, and its result; on a CPU those of this process, whatever else runs."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        torch.cuda.synchronize()
    began = clock()
    result = function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began, result


def measure(policy, question, completions, args, *, share_prefix):
    """All figures of one layout."""
    device, figures = args.device, {}
    counted = Counted(policy)
    policy.eval()
    with torch.no_grad():
        features = policy("encode", question)
        counted.take()
        for name, tokens in (("prefill", 1), ("rollout", args.rollout_tokens)):
            rollout = Rollout(SamplingSettings(tokens), (), share_prefix=share_prefix)
            generator = torch.Generator(device).manual_seed(0)
            figures[f"{name} s"], _ = timed(
                lambda rollout=rollout, generator=generator: rollout.generate(
                    policy, [Asked(question, features, generator)], GENERATIONS
                ),
                device,
            )
            figures[f"{name} tokens"] = counted.take()[0]
    policy.train()
    if args.checkpointing:
        policy.qwen.gradient_checkpointing_enable({"use_reentrant": False})
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    kept, flops = Kept(policy), FlopCounterMode(display=False)
    with flops:
        with kept.hooks:
            figures["loss forward s"], (logps, _) = timed(
                lambda: policy("logps", question, completions, share_prefix=share_prefix), device
            )
        figures["loss tokens"], figures["vision passes"] = counted.take()
        figures["backward s"], _ = timed(lambda: logps.mean().backward(), device)
    figures["loss + backward TFLOP"] = flops.get_total_flops() / 1e12
    figures["kept activations GB"] = kept.gigabytes
    if device == "cuda":
        figures["peak memory GB"] = (torch.cuda.max_memory_allocated() - before) / 1e9
    policy.zero_grad()
    return figures, logps.detach()


def several_prompts(policy, question, args):
    """Seconds and decoder passes of a rollout for some prompts: one by one, then together."""
    passes, figures = 0, []

    def counting(*given, **options):
        nonlocal passes
        passes += 1
        return policy(*given, **options)

    policy.eval()
    with torch.no_grad():
        features = policy("encode", question)
    for together in (1, PROMPTS):
        rollout = Rollout(SamplingSettings(args.rollout_tokens), ())
        rollout.at_once = together * GENERATIONS
        asked = [
            Asked(question, features, torch.Generator(args.device).manual_seed(i))
            for i in range(PROMPTS)
        ]
        passes = 0
        seconds, _ = timed(
            lambda r=rollout, a=asked: r.generate(counting, a, GENERATIONS), args.device
        )
        figures.append((seconds, passes))
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--layers", type=int, default=8 if on_gpu else 2)
    parser.add_argument("--hidden", type=int, default=3584 if on_gpu else 128)
    parser.add_argument("--completion-tokens", type=int, default=200)
    parser.add_argument("--rollout-tokens", type=int, default=200 if on_gpu else 16)
    parser.add_argument("--frames", type=float, default=1.0, help="share of the official 40 frames")
    parser.add_argument("--checkpointing", action="store_true")
    args = parser.parse_args()
    args.device = "cuda" if on_gpu else "cpu"
    policy = Policy(build_model(args.layers, args.hidden, args.device))
    question = build_question(policy, args.device, args.frames)
    completions = [
        torch.full((args.completion_tokens,), 7, device=args.device) for _ in range(GENERATIONS)
    ]
    weights = sum(weight.numel() for weight in policy.parameters())
    print(
        f"{args.layers} layers of width {args.hidden}, {weights / 1e6:.1f} M weights, "
        f"on {torch.cuda.get_device_name() if on_gpu else 'the CPU'}; {len(question)} prompt and "
        f"video tokens, {GENERATIONS} completions of {args.completion_tokens}"
    )
    plain, expected = measure(policy, question, completions, args, share_prefix=False)
    shared, logps = measure(policy, question, completions, args, share_prefix=True)
    print(f"{'':24}{'repeated':>12}{'shared':>12}{'ratio':>9}")
    for name, value in plain.items():
        ratio = value / shared[name] if shared[name] else float("nan")
        print(f"{name:24}{value:12,.3f}{shared[name]:12,.3f}{ratio:8.1f}x")
    (apart_s, apart), (together_s, together) = several_prompts(policy, question, args)
    print(f"rollout of {PROMPTS} prompts, one by one and together:")
    print(f"{'passes of the decoder':24}{apart:12,}{together:12,}{apart / together:8.1f}x")
    print(f"{'rollout s':24}{apart_s:12,.3f}{together_s:12,.3f}{apart_s / together_s:8.1f}x")
    print(f"largest difference of a log-probability: {(logps - expected).abs().max():.1e}")


if __name__ == "__main__":
    main()
