"""Completions from a vLLM server in an environment of its own, behind the same `generate`.

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --max-model-len 8192

Once a step the policy's weights are written into a folder that both sides see (best in memory, such
as `/dev/shm`), and the server reads them: `/collective_rpc` with vLLM's own `reload_weights`. That
takes no common process group, no GPU of the trainer's and no vLLM in its environment. A new folder
each time, because a path that was read before may come from a cache.

Frames go out as `vlm.server` sends them. The server returns the tokens that it read and drew and
the log-probabilities of the latter. It computes in its own way and sees the frames as JPEG, so
these differ a little from the policy's, and the loss corrects for it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.vlm.server.client import Client
from stvg_r1_hub.vlm.server.inputs import as_frames
from stvg_r1_hub.vlm.server.probe import LOWEST_VLLM, look, only_model
from stvg_r1_hub.vlm.server.refusals import NotTaken
from train.grpo.policy import Policy
from train.grpo.rollout import Asked, SamplingSettings, TrainingError

PROMPTS_AT_ONCE = 32
REPEATS, WAIT_SECONDS = 3, 20.0
"""How often a step's completions are asked for again after the server was down, and when."""
_NEVER = -100.0
_CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
"""Hold what older weights computed."""
_log = logging.getLogger(__name__)


class Engine:
    """One server: its weights, and questions to it."""

    def __init__(self, url: str, folder: Path) -> None:
        """Find out what serves there.

        Args:
            url: base address, such as `"http://localhost:8000/v1"`.
            folder: for weights; the server must see it under the same path.

        Raises:
            ConfigError: nobody answers, or no vLLM of a release that tells the times of frames.
        """
        self.url = url
        self.folder = folder.resolve()
        self.client = Client(url, None, 600.0, 4)
        try:
            server = look(self.client)
            self.model = only_model(url, server)
        except ModelError as error:
            raise ConfigError(
                f"engine: {error} Or leave engine out: completions are then drawn in this process."
            ) from error
        if server.software != "vllm" or not server.tells_frame_times:
            lowest = ".".join(map(str, LOWEST_VLLM))
            found = f"{server.software or 'no server that says what it is'} {server.version}"
            raise ConfigError(
                f"engine: {url} must be a vLLM server, {lowest} or later, and is {found.strip()}."
            )

    def take_weights(self, policy: Policy) -> None:
        """Make the server's weights those of a policy, whole ones.

        Raises:
            TrainingError: the server does not take them.
            OSError: they cannot be written.
        """
        for old in self.folder.glob("weights-*"):
            shutil.rmtree(old, ignore_errors=True)
        newest = self.folder / f"weights-{time.time_ns()}"
        policy.qwen.save_pretrained(newest, state_dict=whole_weights(policy))
        self._repeated(self.reload)

    def reload(self) -> None:
        """Let the server read the newest weights, and forget what older ones computed.

        Raises:
            ModelError: it does not.
        """
        asked = {"weights_path": str(max(self.folder.glob("weights-*")))}
        self.client.command("/collective_rpc", {"method": "reload_weights", "kwargs": asked})
        for path in _CACHES:
            self.client.command(path, {})

    def ask_all(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to requests; all of them again when the server was down in between.

        Raises:
            TrainingError: it stays down.
        """

        def ask() -> list[dict[str, Any]]:
            with ThreadPoolExecutor(PROMPTS_AT_ONCE) as pool:
                return list(pool.map(self.client.chat, bodies))

        answers: list[dict[str, Any]] = self._repeated(ask, self.reload)
        return answers

    def _repeated(self, do: Callable[[], Any], before_again: Callable[[], Any] = int) -> Any:
        for attempt in range(REPEATS + 1):
            try:
                if attempt:
                    before_again()  # A server that was started again has its first weights.
                return do()
            except NotTaken as error:
                raise TrainingError(str(error)) from error  # It would be refused again.
            except ModelError as error:
                problem = error
                if attempt < REPEATS:
                    _log.warning("The step's completions are asked for again: %s", error)
                    time.sleep(WAIT_SECONDS)
        raise TrainingError(
            f"{problem} Nothing is lost: start the engine again, and go on from the last "
            "checkpoint with --resume."
        ) from problem


def whole_weights(policy: Policy) -> dict[str, Tensor]:
    """The policy's weights by the names of its model without adapters, these merged in."""
    weights = {}
    for name, weight in policy.qwen.state_dict().items():
        if ".lora_" in name:
            continue
        layer, _, is_merged = name.partition(".base_layer.")
        if is_merged == "weight":
            weight = weight + policy.qwen.get_submodule(layer).get_delta_weight("default")
        weights[name.replace(".base_layer.", ".")] = weight.to(policy.qwen.dtype)
    if policy.qwen.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    return weights


class EngineRollout:
    """Draws groups of completions as `Rollout` does, at a server."""

    def __init__(self, settings: SamplingSettings, engine: Engine) -> None:
        """Prepare.

        Args:
            settings: how completions are drawn.
            engine: where.
        """
        self.settings = settings
        self.engine = engine

    def generate(self, policy: Any, prompts: Sequence[Asked], n: int) -> list[list[Tensor]]:
        """Draw `n` completions a prompt; see `Rollout.generate`.

        Their log-probabilities are left in each prompt's `sampler_logps`.

        Args:
            policy: not asked; its weights were given to the engine.
            prompts: one a group, with text and frames.
            n: completions a prompt.

        Raises:
            TrainingError: the server stays down, or read or drew other tokens than it was asked.
        """
        answers = self.engine.ask_all([self._request(prompt, n) for prompt in prompts])
        return [
            self._completions(prompt, answer, n)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _request(self, prompt: Asked, n: int) -> dict[str, Any]:
        assert prompt.frames is not None
        sent, settings = as_frames(prompt.frames), self.settings
        seed = torch.randint(2**31, (), generator=prompt.generator, device=prompt.generator.device)
        return {
            "model": self.engine.model,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": str(prompt.text)}, *sent.parts],
                }
            ],
            **sent.fields,
            "n": n,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,
            "seed": int(seed),
            "logit_bias": {str(token): _NEVER for token in settings.forbidden},
            "logprobs": True,
            "return_token_ids": True,
            "skip_special_tokens": False,
        }

    def _completions(self, prompt: Asked, answer: dict[str, Any], n: int) -> list[Tensor]:
        """The tokens that were drawn, once it is sure that this very prompt was read."""
        try:
            read = list(answer["prompt_token_ids"])
            chosen = sorted(answer["choices"], key=lambda one: one["index"])
            drawn = [torch.tensor(one["token_ids"], dtype=torch.long) for one in chosen]
            logps = [
                torch.tensor([part["logprob"] for part in one["logprobs"]["content"]])
                for one in chosen
            ]
        except (LookupError, TypeError, ValueError) as error:
            raise TrainingError(
                f"The engine {self.engine.url} does not return tokens and log-probabilities; "
                f"serve with vLLM {'.'.join(map(str, LOWEST_VLLM))} or later."
            ) from error
        expected = prompt.inputs.input_ids.tolist()
        if read != expected:
            raise TrainingError(
                f"The engine {self.engine.url} read {len(read)} tokens where this process has "
                f"{len(expected)}, or other ones; serve the model that is trained, with its own "
                "processor and chat template."
            )
        lengths, counts = [len(ids) for ids in drawn], [len(values) for values in logps]
        most = self.settings.max_new_tokens
        if len(drawn) != n or lengths != counts or not all(0 < k <= most for k in lengths):
            raise TrainingError(
                f"The engine {self.engine.url} returned completions of {lengths} tokens with "
                f"{counts} log-probabilities; {n} of 1 to {most} tokens were asked for."
            )
        prompt.sampler_logps[:] = logps
        return drawn
