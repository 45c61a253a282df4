"""Samples and dialogues to padded tensors, with the weight of every token in the loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stvg_r1_hub.sprites.motion import ACTIONS
from stvg_r1_hub.sprites.scene import KINDS
from stvg_r1_hub.vlm.positions import mrope_positions
from train.bundled.dialogue import Dialogue, canonical
from train.bundled.sizes import MERGE, SMALL, TEMPORAL, TOKENS_PER_SECOND, ModelSize, bundle_config
from train.bundled.sprite_samples import Sample

ID_WEIGHT = 3.0
"""Weight of the answered ID."""
_DECISION_WEIGHT = 2.0
"""Weight of the tokens that decide whether a listed object is the asked one."""


class Row(NamedTuple):
    """One sequence before padding."""

    ids: NDArray[np.int64]
    """`(L,)` tokens."""
    weights: NDArray[np.float64]
    """`(L,)` weight of each token in the loss; 0 where it is given, not said."""
    positions: NDArray[np.int64]
    """`(3, L)` M-RoPE positions."""


class Collator:
    """Samples of equal duration, and dialogues without a clip, to padded tensors."""

    def __init__(self, processor: Any, size: ModelSize = SMALL) -> None:
        self.processor = processor
        self.size = size
        self.fps = bundle_config(size).sampling.fps
        self.tokenizer = processor.tokenizer
        self.video_token = self._token("<|video_pad|>")
        self.answer_token = self._token("<answer>")
        self.stop_token = self._token(".")
        words = [f" {word}" for word in (*KINDS, *(canonical(a) for a in ("", *ACTIONS)))]
        self.words = np.array([ids[-1] for ids in self.tokenizer(words).input_ids])

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
        content = [{"type": "text", "text": dialogue.prompt}, {"type": "video"}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        side = self.size.tokens_per_side
        n_visual = dialogue.grid_steps * side**2
        head: list[int] = []
        for token in self.tokenizer(prompt).input_ids:
            head += [token] * (n_visual if token == self.video_token else 1)
        tail = [*self.tokenizer(dialogue.answer).input_ids, self.tokenizer.eos_token_id]
        ids = np.array(head + tail)
        weights = np.array([0.0] * len(head) + [1.0] * len(tail))
        if "<answer>" in dialogue.answer:
            weights[self._answer_start(ids) + _ID_BEHIND_ANSWER] = ID_WEIGHT
        positions, _ = mrope_positions(
            ids,
            np.array([[dialogue.grid_steps, MERGE * side, MERGE * side]]),
            [TEMPORAL / self.fps],
            video_token_id=self.video_token,
            tokens_per_second=TOKENS_PER_SECOND,
            merge_size=MERGE,
        )
        return Row(ids, weights, positions)

    def without_video(self, dialogue: Dialogue) -> Row:
        """The row without its visual tokens, all others at their places.

        Only what follows from the prompt and the listing counts: which nouns and actions are the
        asked ones, and the answer. A row like this costs a twentieth of one with its clip, and
        teaches as well how to find the asked object, which is what takes longest to learn.
        """
        row = self.row(dialogue)
        said = int(np.flatnonzero(row.weights)[0])
        answer = self._answer_start(row.ids)
        # The query in the listing's words: <think> kind (asked) action (asked).
        stop = said + int(np.flatnonzero(row.ids[said:] == self.stop_token)[0])
        weights = row.weights.copy()
        weights[stop + 1 : answer] = 0.0
        listing = np.arange(stop + 1, answer)
        # The token behind a kind or an action says whether it is the asked one.
        decides = np.isin(row.ids[listing - 1], self.words)
        weights[listing[decides]] = _DECISION_WEIGHT
        kept = row.ids != self.video_token
        return Row(row.ids[kept], weights[kept], row.positions[:, kept])

    def _answer_start(self, ids: NDArray[np.int64]) -> int:
        return int(np.flatnonzero(ids == self.answer_token)[-1])

    def _padded(self, rows: list[Row]) -> dict[str, Tensor]:
        length = max(len(row.ids) for row in rows)
        length += -length % 8
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        weights = torch.zeros(len(rows), length)
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.from_numpy(row.ids)
            weights[i, : len(row.ids)] = torch.from_numpy(row.weights)
            positions[:, i, : len(row.ids)] = torch.from_numpy(row.positions)
        return {"ids": ids, "weights": weights, "positions": positions}


_ID_BEHIND_ANSWER = 4
"""`<answer> Target ID : 3`: the ID is the fourth token behind the tag."""
