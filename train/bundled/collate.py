"""Samples and dialogues to padded tensors, with the weight of every token in the loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stvg_r1_hub.sprites.motion import ACTIONS
from stvg_r1_hub.sprites.scene import KINDS
from stvg_r1_hub.vlm.inputs import InputBuilder, TokenRow, VideoGrid, padded
from train.bundled.dialogue import Dialogue, canonical
from train.bundled.sizes import MERGE, SMALL, TEMPORAL, ModelSize, bundle_config
from train.bundled.sprite_samples import Sample
from train.bundled.tiny_model import model_config

ID_WEIGHT = 3.0
"""Weight of the answered ID."""
_DECISION_WEIGHT = 2.0
"""Weight of the tokens that decide whether a listed object is the asked one."""


class Row(NamedTuple):
    """One sequence before padding."""

    tokens: TokenRow
    weights: Tensor
    """`(L,)` float32 weight of each token in the loss; 0 in the prompt."""


class Collator:
    """Samples of equal duration, and dialogues without a clip, to padded tensors."""

    def __init__(self, processor: Any, size: ModelSize = SMALL) -> None:
        self.size = size
        config = bundle_config(size)
        self.fps = config.sampling.fps
        self.tokenizer = processor.tokenizer
        self.inputs = InputBuilder(
            processor, model_config(self.tokenizer, size), config.position_rule
        )
        self.answer_token = self._token("<answer>")
        self.stop_token = self._token(".")
        words = [f" {word}" for word in (*KINDS, *(canonical(a) for a in ("", *ACTIONS)))]
        self.words = torch.tensor([ids[-1] for ids in self.tokenizer(words).input_ids])

    def _token(self, text: str) -> int:
        (token,) = self.tokenizer(text).input_ids
        return int(token)

    def __call__(self, batch: tuple[list[Sample], list[Dialogue]]) -> dict[str, Tensor]:
        """Build `frames`, `labels`, and `ids`, `weights`, `positions` of both kinds of rows."""
        samples, dialogues = batch
        tensors = {
            "frames": torch.from_numpy(np.stack([s.frames for s in samples])),
            "labels": torch.from_numpy(np.stack([s.labels for s in samples])),
            **self._padded([self.row(s.dialogue) for s in samples]),
        }
        if dialogues:
            rows = [self.without_video(d) for d in dialogues]
            tensors |= {f"read_{name}": value for name, value in self._padded(rows).items()}
        return tensors

    def row(self, dialogue: Dialogue) -> Row:
        """The whole sequence of one question and answer."""
        side = MERGE * self.size.tokens_per_side
        grid = VideoGrid((dialogue.grid_steps, side, side), TEMPORAL / self.fps)
        tokens = self.inputs.tokens(dialogue.prompt, grid, dialogue.answer)
        weights = torch.zeros(len(tokens.input_ids))
        weights[tokens.prompt_length :] = 1.0
        if "<answer>" in dialogue.answer:
            weights[self._answer_start(tokens.input_ids) + _ID_BEHIND_ANSWER] = ID_WEIGHT
        return Row(tokens, weights)

    def without_video(self, dialogue: Dialogue) -> Row:
        """The row without its visual tokens, all others at their places.

        Only what follows from the prompt and the listing counts: which nouns and actions are the
        asked ones, and the answer. A row like this costs a twentieth of one with its clip, and
        teaches as well how to find the asked object, which is what takes longest to learn.
        """
        row, weights = self.row(dialogue)
        ids, start, answer = row.input_ids, row.prompt_length, self._answer_start(row.input_ids)
        # The query in the listing's words: <think> kind (asked) action (asked).
        stop = start + int((ids[start:] == self.stop_token).nonzero()[0])
        weights[stop + 1 : answer] = 0.0
        listing = torch.arange(stop + 1, answer)
        # The token behind a kind or an action says whether it is the asked one.
        decides = torch.isin(ids[listing - 1], self.words)
        weights[listing[decides]] = _DECISION_WEIGHT
        kept = ids != self.inputs.config.video_token_id
        n_prompt = int(kept[:start].sum())
        return Row(TokenRow(ids[kept], row.position_ids[:, kept], n_prompt), weights[kept])

    def _answer_start(self, ids: Tensor) -> int:
        return int((ids == self.answer_token).nonzero()[-1])

    def _padded(self, rows: list[Row]) -> dict[str, Tensor]:
        batch = padded([row.tokens for row in rows], "right", multiple_of=8)
        weights = torch.zeros(batch.input_ids.shape)
        for own, row in zip(weights, rows, strict=True):
            own[: len(row.weights)] = row.weights
        return {"ids": batch.input_ids, "weights": weights, "positions": batch.position_ids}


_ID_BEHIND_ANSWER = 4
"""`<answer> Target ID : 3`: the ID is the fourth token behind the tag."""
