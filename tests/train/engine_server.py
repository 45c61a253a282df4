"""What stands in for a vLLM server in tests: its protocol, and answers of the tiny model."""

from threading import Lock

import numpy as np
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from stvg_r1_hub.structures import Frames
from stvg_r1_hub.vlm.inputs import InputBuilder
from tests.train import tiny
from tests.vlm.stand_in import seen_in
from train.grpo.policy import Policy
from train.grpo.rollout import Asked, Rollout, SamplingSettings


class TinyEngine:
    """Reads weights from a folder, frames from requests, and draws tokens."""

    def __init__(self, base):
        self.read = []
        """The folders whose weights were read."""
        self.told = []
        """Other commands."""
        self.busy = Lock()
        self.processor = tiny.processor()
        self.load(base)

    def load(self, folder):
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
        self.policy = Policy(model.eval())
        self.builder = InputBuilder.of(model, self.processor, "transformers-4.50")

    def __call__(self, body):
        with self.busy:
            if body["path"] == "/collective_rpc":
                assert body["method"] == "reload_weights"
                self.read.append(body["kwargs"]["weights_path"])
                self.load(self.read[-1])
                return 200, {"results": [None]}
            if not body["path"].endswith("/chat/completions"):
                self.told.append(body["path"])
                return 200, {}
            return 200, self.answer(body)

    @torch.no_grad()
    def answer(self, body):
        seen = seen_in(body)
        n, height, width = seen.pixels.shape[:3]
        frames = Frames(seen.pixels, np.arange(n), seen.times, seen.sample_fps, height, width)
        inputs = self.builder.prompt_inputs(seen.text, frames)
        forbidden = tuple(map(int, body["logit_bias"]))
        settings = SamplingSettings(
            body["max_tokens"], body["temperature"], body["top_p"], max(body["top_k"], 0), forbidden
        )
        features = self.policy.encode(inputs)
        asked = Asked(inputs, features, torch.Generator().manual_seed(body["seed"]))
        end = self.processor.tokenizer.eos_token_id
        (drawn,) = Rollout(settings, (end,)).generate(self.policy, [asked], body["n"])
        flat, _ = self.policy.logps(inputs, drawn, features=features)
        logps = torch.split(flat, [len(ids) for ids in drawn])
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": self.processor.decode(ids)},
                "token_ids": ids.tolist(),
                "logprobs": {"content": [{"token": "", "logprob": v} for v in told.tolist()]},
            }
            for i, (ids, told) in enumerate(zip(drawn, logps, strict=True))
        ]
        return {"choices": choices[::-1], "prompt_token_ids": inputs.input_ids.tolist()}
