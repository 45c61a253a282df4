"""The language model as GRPO uses it: log-probabilities of a group behind one prompt and video.

Prefix sharing. All G completions of a group answer the same prompt about the same video. They are
laid out as one packed sequence

    prefix | completion 1 | completion 2 | ... | completion G

in which a token sees the prefix and its own completion, by an attention mask, and every completion
continues the prefix's positions. The model computes exactly what G separate sequences would, with
one prefix instead of G; gradients flow into the one prefix. At the official shape that is 3,680
tokens instead of 18,240, and one pass of the vision tower instead of eight. Rollout uses the same
layout with a KV cache (`train/grpo/rollout.py`).

Every pass goes through `Policy.forward`, because data-parallel and sharding wrappers hook into
the forward call.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from stvg_r1_hub.vlm.inputs import PromptInputs, TokenRow, padded

PREFIX = -1
LOGITS_AT_ONCE = 512
"""Tokens whose logits over the vocabulary exist at the same time."""


def packed_owners(prefix_length: int, lengths: Sequence[int]) -> Tensor:
    """`(S,)` which completion each token of the packed sequence belongs to; -1 is the prefix."""
    owners = torch.cat([torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))])
    return torch.cat([torch.full((prefix_length,), PREFIX), owners])


def may_attend(query_owners: Tensor, key_owners: Tensor) -> Tensor:
    """`(Q, K)` bool: a token sees the prefix and its own completion, before causality."""
    return (key_owners == PREFIX) | (key_owners == query_owners.unsqueeze(1))


class Policy(nn.Module):
    """A Qwen2.5-VL model, with or without adapters."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        decoder = type(self.qwen.model.language_model)
        taken = inspect.signature(decoder.forward).parameters
        self.cache_name = "cache" if "cache" in taken else "past_key_values"
        """What the installed transformers calls the KV cache; 5.24 renamed it."""

    @property
    def qwen(self) -> Any:
        """The transformers model; adapters live inside its layers."""
        return self.model.get_base_model() if self.has_adapter else self.model

    @property
    def has_adapter(self) -> bool:
        """Whether this is a PEFT model."""
        return hasattr(self.model, "get_base_model")

    def without_adapter(self) -> AbstractContextManager[Any]:
        """Inside, the model is the one that training started from; only with adapters."""
        return self.model.disable_adapter() if self.has_adapter else nullcontext()

    def forward(self, task: str, *args: Any, **options: Any) -> Any:
        """Run one of the passes below by name: `"encode"`, `"extend"` or `"logps"`."""
        return getattr(self, task)(*args, **options)

    def encode(self, inputs: PromptInputs) -> Tensor:
        """`(V, hidden)` visual tokens of a clip, one pass of the vision tower."""
        patches = inputs.video.pixel_values
        grid = torch.tensor([inputs.video.grid.thw], device=patches.device)
        output = self.qwen.model.get_video_features(patches, grid)
        return torch.cat(list(output.pooler_output))

    def extend(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        cache: Any,
        *,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Append tokens to a KV cache.

        Args:
            input_ids: `(B, n)`.
            position_ids: `(3, B, n)`.
            cache: a transformers cache, changed.
            features: visual tokens for the video places among the ids.
            mask: `(Q, K)` or `(B, Q, K)` bool, True where attended; None is causal.
            last_only: logits of the last token alone.

        Returns:
            `(B, n or 1, vocabulary)` logits.
        """
        embeds = self._embed(input_ids, features, input_ids.shape[1])
        hidden = self._decode(embeds, position_ids, mask, cache=cache)
        logits: Tensor = self.qwen.lm_head(hidden[:, -1:] if last_only else hidden)
        return logits

    def logps(
        self,
        inputs: PromptInputs,
        completions: Sequence[Tensor],
        *,
        features: Tensor | None = None,
        share_prefix: bool = True,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Log-probability of every generated token, and entropy of what it was drawn from.

        Args:
            inputs: the common prompt and clip.
            completions: G tensors `(L_i,)` of generated tokens, each at least one long.
            features: the clip's visual tokens; None runs the vision tower, with gradient.
            share_prefix: one packed sequence; False repeats prompt and clip for each
                completion, as the official trainer does.
            temperature: of the distribution that was sampled from.

        Returns:
            Twice `(L_1 + ... + L_G,)` float32, completion after completion; entropies are in nats
            and have no gradient.
        """
        run = self._packed_hidden if share_prefix else self._repeated_hidden
        hidden = run(inputs, completions, features)
        return self._token_logps(hidden, torch.cat(list(completions)), temperature)

    def _packed_hidden(
        self, inputs: PromptInputs, completions: Sequence[Tensor], features: Tensor | None
    ) -> Tensor:
        """Hidden states that predict each generated token, from one packed sequence."""
        lengths = [len(ids) for ids in completions]
        device = inputs.input_ids.device
        visual = self.encode(inputs) if features is None else features
        ids = torch.cat([inputs.input_ids, *completions]).unsqueeze(0)
        owners = packed_owners(len(inputs), lengths).to(device)
        positions = torch.cat([inputs.position_ids, *_continued(inputs, lengths)], dim=1)
        mask = may_attend(owners, owners).tril()
        hidden = self._decode(self._embed(ids, visual, len(inputs)), positions.unsqueeze(1), mask)[
            0
        ]
        return hidden[_predictors(len(inputs), lengths).to(device)]

    def _repeated_hidden(
        self, inputs: PromptInputs, completions: Sequence[Tensor], features: Tensor | None
    ) -> Tensor:
        """The same from G separate sequences, padded on the right."""
        lengths = [len(ids) for ids in completions]
        prefix, device = len(inputs), inputs.input_ids.device
        if features is None:
            visual = torch.cat([self.encode(inputs) for _ in completions])
        else:
            visual = features.repeat(len(completions), 1)
        rows = [
            TokenRow(
                torch.cat([inputs.input_ids, ids]),
                torch.cat([inputs.position_ids, more], dim=1),
                prefix,
            )
            for ids, more in zip(completions, _continued(inputs, lengths), strict=True)
        ]
        batch = padded(rows, "right")
        longest = batch.input_ids.shape[1]
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        mask = causal & batch.attention_mask.bool().unsqueeze(1)
        embeds = self._embed(batch.input_ids, visual, prefix)
        hidden = self._decode(embeds, batch.position_ids, mask)
        return torch.cat(
            [hidden[i, prefix - 1 : prefix - 1 + length] for i, length in enumerate(lengths)]
        )

    def _embed(self, ids: Tensor, features: Tensor | None, prompt_length: int) -> Tensor:
        """Embeddings, with the visual tokens at their places in the prompt.

        Behind the prompt a video token is a word like others: it has no picture.
        """
        embeds: Tensor = self.qwen.get_input_embeddings()(ids)
        if features is None:
            return embeds
        places = ids == self.qwen.config.video_token_id
        places[:, prompt_length:] = False
        return embeds.masked_scatter(places.unsqueeze(-1), features.to(embeds.dtype))

    def _decode(
        self, embeds: Tensor, positions: Tensor, mask: Tensor | None, *, cache: Any = None
    ) -> Tensor:
        """`(B, n, hidden)` last hidden states under a given mask."""
        ready = None
        decoder = self.qwen.model.language_model
        if mask is not None:
            # (Q, K) or (B, Q, K) to (B, 1, Q, K); a mask is taken as it is in this form only.
            heads = mask.unsqueeze(-3)
            if decoder.config._attn_implementation == "eager":  # it adds the mask to the scores
                unseen = torch.finfo(embeds.dtype).min
                heads = torch.zeros_like(heads, dtype=embeds.dtype).masked_fill(~heads, unseen)
            ready = {"full_attention": heads if heads.ndim == 4 else heads.unsqueeze(0)}
        output = decoder(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask=ready,
            use_cache=cache is not None,
            **{self.cache_name: cache},
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _token_logps(
        self, hidden: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies at the targets, without all logits in memory at once."""

        def part(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
            logits: Tensor = self.qwen.lm_head(states).float() / temperature
            chosen = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
            total = logits.logsumexp(dim=-1)
            with torch.no_grad():
                entropy = total - (logits.softmax(dim=-1) * logits).sum(dim=-1)
            return chosen - total, entropy

        parts = [
            checkpoint(part, states, ids, use_reentrant=False)
            if torch.is_grad_enabled()
            else part(states, ids)
            for states, ids in zip(
                torch.split(hidden, LOGITS_AT_ONCE),
                torch.split(targets, LOGITS_AT_ONCE),
                strict=True,
            )
        ]
        logps, entropies = map(torch.cat, zip(*parts, strict=True))
        return logps, entropies


def _continued(inputs: PromptInputs, lengths: Sequence[int]) -> list[Tensor]:
    """Positions of each completion, `(3, L_i)`: all continue the same prefix."""
    device = inputs.position_ids.device
    return [
        (torch.arange(length, device=device) + inputs.next_position).expand(3, -1)
        for length in lengths
    ]


def _predictors(prefix_length: int, lengths: Sequence[int]) -> Tensor:
    """Place in the packed sequence of the token that predicts each generated token."""
    places, start = [], prefix_length
    for length in lengths:
        places.append(torch.arange(start - 1, start - 1 + length))
        places[-1][0] = prefix_length - 1
        start += length
    return torch.cat(places)


def split_ragged(values: Tensor, completions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Flat per-token values as `(G, L)` with zeros behind each end, and the `(G, L)` mask."""
    lengths = [len(ids) for ids in completions]
    padded = pad_sequence(list(torch.split(values, lengths)), batch_first=True)
    places = torch.arange(padded.shape[1], device=values.device)
    return padded, places < torch.tensor(lengths, device=values.device).unsqueeze(1)
