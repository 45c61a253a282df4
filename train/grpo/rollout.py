"""Sample the completions of groups: one prefill a prompt, one KV cache, all answers side by side.

The answers grow in the packed layout of `policy`: at every step the running completions
of all groups are a handful of query tokens in one sequence, which see the keys of their own prompt
and their own. A prompt's keys exist once, are read once a step, and nothing is copied for each
completion; the weights are read once a step for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.structures import Frames
from stvg_r1_hub.vlm.inputs import PromptInputs
from train.grpo.policy import PREFIX, may_attend

_log = logging.getLogger(__name__)


class TrainingError(STVGError):
    """Training cannot go on; the message says what is wrong with which sample."""


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 takes the most probable token."""
    top_p: float = 1.0
    """Only the most probable tokens with this total probability are drawn."""
    top_k: int = 0
    """Only so many of the most probable tokens are drawn; 0: any."""
    forbidden: tuple[int, ...] = ()
    """Never drawn: the tokens that stand for pictures."""


@dataclass(frozen=True)
class Asked:
    """A prompt to be completed."""

    inputs: PromptInputs
    features: Tensor
    """`(V, hidden)` visual tokens of its clip."""
    generator: torch.Generator
    """Random numbers of its completions alone; the same state gives the same completions."""
    text: str = ""
    """What `inputs` say beside the clip; it and the frames are what another engine is sent."""
    frames: Frames | None = None
    sampler_logps: list[Tensor] = field(default_factory=list)
    """`(L_i,)` of each completion, left here by an engine that is not the policy itself."""


class Rollout:
    """Draws groups of completions and remembers how many fit into memory at once."""

    def __init__(
        self,
        settings: SamplingSettings,
        eos_token_ids: Sequence[int],
        *,
        share_prefix: bool = True,
    ) -> None:
        """Prepare.

        Args:
            settings: how completions are drawn.
            eos_token_ids: tokens that end a completion.
            share_prefix: False repeats prompt and clip for each completion.
        """
        self.settings = settings
        self.eos_token_ids = tuple(eos_token_ids)
        self.share_prefix = share_prefix
        self.at_once: int | None = None
        """Completions generated together; None for all, less after running out of memory."""

    @torch.no_grad()
    def generate(
        self, policy: Callable[..., Tensor], prompts: Sequence[Asked], n: int
    ) -> list[list[Tensor]]:
        """Draw `n` completions a prompt, each `(L_i,)` int64 with the end token if it came to it.

        Running out of memory halves the number generated together, for the rest of the run.

        Args:
            policy: a `Policy` in eval mode, whose weights are whole.
            prompts: one a group.
            n: completions a prompt.

        Raises:
            TrainingError: not even one completion fits into memory.
        """
        states = [prompt.generator.get_state() for prompt in prompts]
        together = min(self.at_once or n * len(prompts), n * len(prompts))
        try:
            return self._generate(policy, prompts, n)
        except torch.OutOfMemoryError as error:
            if together < 2:
                longest = max(len(prompt.inputs) for prompt in prompts)
                raise TrainingError(
                    f"Out of memory while generating {together} completions at once behind "
                    f"{longest} prompt tokens; lower num_generations, max_completion_tokens or "
                    "the pixel budget."
                ) from error
        torch.cuda.empty_cache()
        self.at_once = (together + 1) // 2
        _log.warning(
            "Out of memory while generating %d completions at once; from now on %d at once.",
            together, self.at_once,
        )  # fmt: skip
        for prompt, state in zip(prompts, states, strict=True):
            prompt.generator.set_state(state)
        return self.generate(policy, prompts, n)

    def _generate(
        self, policy: Callable[..., Tensor], prompts: Sequence[Asked], n: int
    ) -> list[list[Tensor]]:
        """As many whole groups side by side as `at_once` allows, or one group in parts."""
        at_once = self.at_once or n * len(prompts)
        parts = [min(at_once, n - first) for first in range(0, n, min(at_once, n))]
        completions: list[list[Tensor]] = []
        if not self.share_prefix:
            for prompt in prompts:
                drawn = [self._repeated(policy, prompt, k) for k in parts]
                completions.append([ids for part in drawn for ids in part])
            return completions
        groups = max(1, at_once // n)
        for first in range(0, len(prompts), groups):
            completions += self._packed_groups(policy, prompts[first : first + groups], parts)
        return completions

    def _packed_groups(
        self, policy: Callable[..., Tensor], prompts: Sequence[Asked], parts: Sequence[int]
    ) -> list[list[Tensor]]:
        """Prefill each prompt, then grow completions of all of them, so many a time."""
        from transformers import DynamicCache

        cache = DynamicCache()
        logits: list[Tensor] = []
        for prompt in prompts:
            inputs, own = prompt.inputs, DynamicCache() if len(prompts) > 1 else cache
            logits += policy(
                "extend", inputs.input_ids.unsqueeze(0), inputs.position_ids.unsqueeze(1), own,
                features=prompt.features, last_only=True,
            )  # fmt: skip
            if own is not cache:
                for layer, (keys, values, *_) in enumerate(own):
                    cache.update(keys, values, layer)
        prefixes = cache.get_seq_length()
        completions: list[list[Tensor]] = [[] for _ in prompts]
        for k in parts:
            drawn = self._packed(policy, prompts, cache, torch.cat(logits), k)
            for group, own_completions in zip(completions, drawn, strict=True):
                group += own_completions
            if extra := cache.get_seq_length() - prefixes:
                cache.crop(-extra)
        return completions

    def _packed(
        self, policy: Callable[..., Tensor], prompts: Sequence[Asked], cache: object,
        logits: Tensor, n: int,
    ) -> list[list[Tensor]]:  # fmt: skip
        """Grow `n` completions behind each cached prompt; `(P, V)` logits follow their ends."""
        device, groups = logits.device, len(prompts)
        growing = _Growing([prompt.generator for prompt in prompts], n, self)
        lengths = torch.tensor([len(prompt.inputs) for prompt in prompts])
        starts = torch.tensor([prompt.inputs.next_position for prompt in prompts], device=device)
        key_groups = torch.arange(groups).repeat_interleave(lengths).to(device)
        key_owners = torch.full_like(key_groups, PREFIX)
        running = torch.arange(groups * n, device=device)
        logits = logits.repeat_interleave(n, dim=0)
        while True:
            running = growing.append(logits, running)
            if not len(running):
                return growing.completions()
            now = running // n
            key_owners, key_groups = torch.cat([key_owners, running]), torch.cat([key_groups, now])
            mask = may_attend(running, key_owners) & (key_groups == now.unsqueeze(1))
            positions = starts[now] + growing.length - 1
            logits = policy(
                "extend", growing.last_tokens(running).unsqueeze(0),
                positions.expand(3, 1, -1), cache, mask=mask,
            )[0]  # fmt: skip

    def _repeated(self, policy: Callable[..., Tensor], prompt: Asked, n: int) -> list[Tensor]:
        """The reference: a batch of `n` rows with a cache and a copy of the clip each."""
        from transformers import DynamicCache

        inputs, device = prompt.inputs, prompt.inputs.input_ids.device
        growing = _Growing([prompt.generator], n, self)
        cache = DynamicCache()
        logits = policy(
            "extend", inputs.input_ids.expand(n, -1),
            inputs.position_ids.unsqueeze(1).expand(3, n, -1), cache,
            features=prompt.features.repeat(n, 1), last_only=True,
        )[:, -1]  # fmt: skip
        everyone = running = torch.arange(n, device=device)
        while True:
            running = growing.append(logits[running], running)
            if not len(running):
                return growing.completions()[0]
            position = inputs.next_position + growing.length - 1
            logits = policy(
                "extend", growing.last_tokens(everyone).unsqueeze(1),
                torch.full((3, n, 1), position, device=device), cache,
            )[:, -1]  # fmt: skip


class _Growing:
    """Completions under way: `n` a group, the groups one after the other."""

    def __init__(self, generators: Sequence[torch.Generator], n: int, rollout: Rollout) -> None:
        self.settings = rollout.settings
        self.eos = torch.tensor(rollout.eos_token_ids)
        self.generators = generators
        self.n = n
        self.length = 0
        rows = n * len(generators)
        self.tokens = torch.zeros(rows, self.settings.max_new_tokens, dtype=torch.long)
        self.lengths = torch.zeros(rows, dtype=torch.long)

    def append(self, logits: Tensor, running: Tensor) -> Tensor:
        """Draw the next token of the running completions; those that run on."""
        rows = running.cpu()
        # Each group draws from its own random numbers, whichever others it is packed with.
        sizes = torch.bincount(rows // self.n, minlength=len(self.generators)).tolist()
        chosen = torch.cat(
            [
                _draw(own, self.settings, generator)
                for own, generator in zip(torch.split(logits, sizes), self.generators, strict=True)
                if len(own)
            ]
        ).cpu()
        self.tokens[rows, self.length] = chosen
        self.length += 1
        self.lengths[rows] = self.length
        if self.length == self.settings.max_new_tokens:
            return running[:0]
        return running[~torch.isin(chosen, self.eos).to(running.device)]

    def last_tokens(self, rows: Tensor) -> Tensor:
        """Newest token of the given completions, on their device."""
        return self.tokens[rows.cpu(), self.length - 1].to(rows.device)

    def completions(self) -> list[list[Tensor]]:
        """What was drawn, group by group, each without what follows its end."""
        cut = [row[:k] for row, k in zip(self.tokens, self.lengths.tolist(), strict=True)]
        return [cut[first : first + self.n] for first in range(0, len(cut), self.n)]


def _draw(logits: Tensor, settings: SamplingSettings, generator: torch.Generator) -> Tensor:
    """`(A,)` one token a row of `(A, V)` logits, cut in the order of transformers' `generate`."""
    forbidden = torch.tensor(settings.forbidden, dtype=torch.long, device=logits.device)
    logits = logits.float().index_fill(-1, forbidden, -torch.inf)
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / settings.temperature
    if 0 < settings.top_k < logits.shape[-1]:
        least = logits.topk(settings.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(dim=-1)
    if settings.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= settings.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
