"""Sample the completions of a group: one prefill, one KV cache of the prefix, G answers.

The answers grow in the packed layout of `train/policy.py`: at every step the running completions
are a handful of query tokens in one sequence, which see the prefix's keys and their own. The
prefix's keys exist once, are read once a step, and nothing is copied for each completion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stvg_r1_hub.errors import STVGError
from train.policy import PREFIX, may_attend
from train.question import Question

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


class Rollout:
    """Draws groups of completions and remembers how many fit into memory at once."""

    def __init__(
        self,
        settings: SamplingSettings,
        eos_token_ids: Sequence[int],
        *,
        share_prefix: bool = True,
        anyone: Callable[[bool], bool] | None = None,
    ) -> None:
        """Prepare.

        Args:
            settings: how completions are drawn.
            eos_token_ids: tokens that end a completion.
            share_prefix: False repeats prompt and clip for each completion.
            anyone: for parameters that are sharded over processes: whether any process still
                generates. All of them then make the same number of forward calls.
        """
        self.settings = settings
        self.eos_token_ids = tuple(eos_token_ids)
        self.share_prefix = share_prefix
        self.anyone = anyone
        self.at_once: int | None = None
        """Completions generated together; None for all, less after running out of memory."""

    @torch.no_grad()
    def generate(
        self, policy: Callable[..., Tensor], question: Question, features: Tensor, n: int,
        generator: torch.Generator,
    ) -> list[Tensor]:  # fmt: skip
        """Draw `n` completions; each `(L_i,)` int64 and ends with the end token if it has one.

        Running out of memory once halves the number generated together, for the rest of the run.

        Args:
            policy: a `Policy`, wrapped or not, in eval mode.
            question: prompt and clip.
            features: the clip's visual tokens.
            n: completions.
            generator: random numbers; the same state gives the same completions.

        Raises:
            TrainingError: out of memory again with half as many.
        """
        state = generator.get_state()
        try:
            return self._generate(policy, question, features, n, generator)
        except torch.OutOfMemoryError as error:
            if self.at_once is not None or n < 2 or self.anyone is not None:
                raise TrainingError(
                    f"Out of memory while generating {min(n, self.at_once or n)} completions at "
                    f"once behind {len(question)} prompt tokens; lower num_generations, "
                    "max_completion_tokens or the pixel budget."
                ) from error
        torch.cuda.empty_cache()
        self.at_once = (n + 1) // 2
        _log.warning(
            "Out of memory while generating %d completions at once; from now on %d at once.",
            n, self.at_once,
        )  # fmt: skip
        generator.set_state(state)
        return self.generate(policy, question, features, n, generator)

    def _generate(
        self, policy: Callable[..., Tensor], question: Question, features: Tensor, n: int,
        generator: torch.Generator,
    ) -> list[Tensor]:  # fmt: skip
        from transformers import DynamicCache

        size = self.at_once or n
        sizes = [min(size, n - first) for first in range(0, n, size)]
        if not self.share_prefix:
            draw = self._repeated
            return [ids for k in sizes for ids in draw(policy, question, features, k, generator)]
        cache = DynamicCache()
        logits = policy(
            "extend", question.input_ids.unsqueeze(0), question.position_ids.unsqueeze(1), cache,
            features=features, last_only=True,
        )[0]  # fmt: skip
        completions = []
        for k in sizes:
            completions += self._packed(policy, question, cache, logits, k, generator)
            if extra := cache.get_seq_length() - len(question):
                cache.crop(-extra)
        return completions

    def _packed(
        self, policy: Callable[..., Tensor], question: Question, cache: object, logits: Tensor,
        n: int, generator: torch.Generator,
    ) -> list[Tensor]:  # fmt: skip
        """Grow `n` completions behind the cached prefix; `(1, V)` logits follow its last token."""
        device = logits.device
        growing = _Growing(n, self, generator)
        key_owners = torch.full((len(question),), PREFIX, device=device)
        logits = logits.expand(n, -1)
        running = torch.arange(n, device=device)
        while True:
            running = growing.append(logits, running)
            if growing.finished(running):
                return growing.completions()
            # Under sharding a process that is done goes on with a token that nobody reads.
            fed = running if len(running) else torch.zeros(1, dtype=torch.long, device=device)
            key_owners = torch.cat([key_owners, fed])
            position = question.next_position + growing.length - 1
            logits = policy(
                "extend", growing.last_tokens(fed).unsqueeze(0),
                torch.full((3, 1, len(fed)), position, device=device), cache,
                mask=may_attend(fed, key_owners),
            )[0]  # fmt: skip

    def _repeated(
        self, policy: Callable[..., Tensor], question: Question, features: Tensor, n: int,
        generator: torch.Generator,
    ) -> list[Tensor]:  # fmt: skip
        """The reference: a batch of `n` rows with a cache and a copy of the clip each."""
        from transformers import DynamicCache

        device = question.input_ids.device
        growing = _Growing(n, self, generator)
        cache = DynamicCache()
        logits = policy(
            "extend", question.input_ids.expand(n, -1),
            question.position_ids.unsqueeze(1).expand(3, n, -1), cache,
            features=features.repeat(n, 1), last_only=True,
        )[:, -1]  # fmt: skip
        everyone = running = torch.arange(n, device=device)
        while True:
            running = growing.append(logits[running], running)
            if growing.finished(running):
                return growing.completions()
            position = question.next_position + growing.length - 1
            logits = policy(
                "extend", growing.last_tokens(everyone).unsqueeze(1),
                torch.full((3, n, 1), position, device=device), cache,
            )[:, -1]  # fmt: skip


class _Growing:
    """Completions under way."""

    def __init__(self, n: int, rollout: Rollout, generator: torch.Generator) -> None:
        self.settings = rollout.settings
        self.eos = torch.tensor(rollout.eos_token_ids)
        self.anyone = rollout.anyone
        self.generator = generator
        self.length = 0
        self.tokens = torch.zeros(n, self.settings.max_new_tokens, dtype=torch.long)
        self.lengths = torch.zeros(n, dtype=torch.long)

    def append(self, logits: Tensor, running: Tensor) -> Tensor:
        """Draw the next token of the running completions; those that run on."""
        if not len(running):
            self.length += 1
            return running
        chosen = _draw(logits[: len(running)], self.settings, self.generator).cpu()
        rows = running.cpu()
        self.tokens[rows, self.length] = chosen
        self.length += 1
        self.lengths[rows] = self.length
        if self.length == self.settings.max_new_tokens:
            return running[:0]
        return running[~torch.isin(chosen, self.eos).to(running.device)]

    def finished(self, running: Tensor) -> bool:
        """Whether nothing is left to generate, here or anywhere."""
        mine = len(running) > 0
        return not (mine if self.anyone is None else self.anyone(mine))

    def last_tokens(self, rows: Tensor) -> Tensor:
        """Newest token of the given completions, on their device."""
        place = min(self.length, self.settings.max_new_tokens) - 1
        return self.tokens[rows.cpu(), place].to(rows.device)

    def completions(self) -> list[Tensor]:
        """What was drawn, each without what follows its end."""
        return [row[:k] for row, k in zip(self.tokens, self.lengths.tolist(), strict=True)]


def _draw(logits: Tensor, settings: SamplingSettings, generator: torch.Generator) -> Tensor:
    """`(A,)` one token a row of `(A, V)` logits."""
    logits = logits.float()
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = (logits / settings.temperature).softmax(dim=-1)
    if settings.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= settings.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
