"""Model inputs in, answers out: token by token, up to the end of the answer.

On a GPU most of a token's time goes into launching its kernels. Over a cache of fixed length
transformers records a step once, as CUDA graphs, and replays it. Compiling them takes about as long
as some thousand tokens without, so they are used from there on, or at once on request. Both ways
give the same answers up to rounding.
"""

from __future__ import annotations

import bisect
import functools
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.config import ConfidenceMap
from stvg_r1_hub.errors import first_line
from stvg_r1_hub.structures import Generated, Progress
from stvg_r1_hub.vlm import OnText
from stvg_r1_hub.vlm.number_probabilities import (
    made_as_sure,
    number_probabilities,
    written_number,
)

if TYPE_CHECKING:
    import torch

_ANSWER_END, _THOUGHT_START, _THOUGHT_END = "</answer>", "<think>", "</think>"
TOKENS_UNTIL_COMPILING_PAYS = 2000
"""A guess: the last line of `benchmarks.gpu_report` measures it on a GPU."""
_GROUPED = "grouped_sdpa"
_NO_MEMORY = ("out of memory", "can't allocate memory")
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Decoder:
    """Generates with one loaded model."""

    model: Any
    tokenizer: Any
    static_cache: bool | None = None
    """Whether the cache has a fixed length, which on a CUDA device compiles the steps into graphs;
    None decides by what was generated so far."""
    _n_generated: int = field(default=0, init=False)

    def answers(
        self,
        inputs: dict[str, Any],
        *,
        max_new_tokens: int,
        progress: Progress | None,
        on_text: OnText | None = None,
        object_ids: Collection[int] = (),
        confidence: ConfidenceMap | None = None,
    ) -> list[str]:
        """One text a row, special tokens removed, cut behind the answer.

        Args:
            inputs: what the model takes, `input_ids` `(B, L)` among it.
            object_ids: the numbers that an answer can name; a text that names one says how
                likely each was.
            confidence: how sure the model is by its whole text, for one that reasons.
            max_new_tokens: length limit of each text.
            progress: called with the stage `"answer"` and the number of tokens so far.
            on_text: called with a row and its text as soon as that is whole.
        """
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        length = inputs["input_ids"].shape[1]
        kept = _Probabilities(self._numbers.values())
        texts: dict[int, str] = {}

        def keep(row: int, tokens: torch.Tensor) -> None:
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            text = text[:end] if (end := end_of_answer(text)) else text
            if object_ids:
                sure = kept.last(row, len(tokens))
                text = self._with_probabilities(text, tokens, *sure, object_ids, confidence)
            texts[row] = text
            if on_text is not None:
                on_text(row, text)

        def ended(ids: torch.Tensor, scores: Any, **unused: Any) -> torch.Tensor:
            if progress is not None:
                progress("answer", ids.shape[1] - length, max_new_tokens)
            done = self._ended(ids[:, length:])
            for row in range(len(ids)):
                if done[row] and row not in texts:
                    keep(row, ids[row, length:])
            return torch.tensor(done, device=ids.device)

        run = functools.partial(
            self.model.generate,
            **inputs,
            max_new_tokens=max_new_tokens,
            stopping_criteria=StoppingCriteriaList([ended]),
            logits_processor=LogitsProcessorList([kept]),
        )
        output = self._run(run)[:, length:]
        self._n_generated += output.shape[1]
        for row, tokens in enumerate(output):
            if row not in texts:
                keep(row, tokens)
        return [texts[row] for row in range(len(output))]

    def _with_probabilities(
        self,
        text: str,
        tokens: torch.Tensor,
        steps: torch.Tensor,
        sureness: torch.Tensor,
        object_ids: Collection[int],
        confidence: ConfidenceMap | None,
    ) -> str:
        """A text with how likely each object was where it names one.

        Args:
            text: the beginning of what the tokens say.
            tokens: `(n,)` generated.
            steps: `(n, N)` probabilities of the tokens that are numbers in place of each.
            sureness: `(n,)` natural logarithms of the likeliest token's probability.
            object_ids: see `answers`, and so is confidence.
            confidence: of the whole text.
        """
        written = written_number(text)
        if written is None:
            return text
        start, number = written
        place = self._token_at(tokens, start)
        part = slice(place, place + len(number) + 1)
        found = number_probabilities(
            [self.tokenizer.decode(token) for token in tokens[part]],
            [dict(zip(self._numbers, step, strict=True)) for step in steps[part].tolist()],
            number,
            object_ids,
        )
        if found and confidence is not None:
            mean = float(sureness[: self._token_at(tokens, len(text) - 1) + 1].mean())
            found = made_as_sure(found, int(number), confidence.probability(mean))
        return Generated(text, found) if found else text

    def _token_at(self, tokens: torch.Tensor, offset: int) -> int:
        """Which token writes a character of the text that they are."""
        return bisect.bisect_right(
            range(1, len(tokens) + 1),
            offset,
            key=lambda n: len(self.tokenizer.decode(tokens[:n], skip_special_tokens=True)),
        )

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        """Every token that is a number below 100, with or without a blank before it."""
        texts = [f"{lead}{i}" for lead in ("", " ") for i in range(100)]
        rows = self.tokenizer(texts, add_special_tokens=False).input_ids
        return {text: row[0] for text, row in zip(texts, rows, strict=True) if len(row) == 1}

    def _run(self, run: functools.partial[torch.Tensor]) -> torch.Tensor:
        if self._compiling_pays() if self.static_cache is None else self.static_cache:
            use_grouped_attention(self.model.config.get_text_config())
            try:
                return run(cache_implementation="static")
            except RuntimeError as error:
                if is_shortage(error):
                    raise
                # Compilers need more than torch to be installed, and not every device has one.
                _log.warning("Decoding goes on without a static cache: %s", first_line(error))
                self.static_cache = False
        return run()

    def _compiling_pays(self) -> bool:
        one_device = len(set(getattr(self.model, "hf_device_map", {}).values())) < 2
        plain = one_device and getattr(self.model, "hf_quantizer", None) is None
        enough = self._n_generated >= TOKENS_UNTIL_COMPILING_PAYS
        return enough and plain and self.model.device.type == "cuda"

    def _ended(self, ids: torch.Tensor) -> list[bool]:
        """Which of the `(B, n)` generated rows have come to their answer's end, or their own."""
        # Ends are looked for in the last tokens alone; the end is never longer than that.
        last = ids[:, -len(_ANSWER_END) :].tolist()
        return [
            tail[-1] in self._end_tokens
            or (_ANSWER_END in text and end_of_answer(self.tokenizer.decode(row)) > 0)
            for text, tail, row in zip(self.tokenizer.batch_decode(last), last, ids, strict=True)
        ]

    @property
    def _end_tokens(self) -> Collection[int]:
        """What ends a text without an answer's end."""
        ends = self.model.generation_config.eos_token_id
        return [ends] if isinstance(ends, int) else ends or ()


class _Probabilities:
    """Keeps the probabilities of some tokens and of the likeliest, and changes nothing.

    It comes before temperature and top-k, which may leave one token alone.
    """

    def __init__(self, tokens: Collection[int]) -> None:
        self._tokens = list(tokens)
        self._steps: list[torch.Tensor] = []
        self._likeliest: list[torch.Tensor] = []

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take `(B, vocabulary)` scores."""
        probabilities = scores.float().softmax(-1)
        self._steps.append(probabilities[:, self._tokens])
        self._likeliest.append(probabilities.amax(-1).log())
        return scores

    def last(self, row: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities `(n, N)` and natural logarithms `(n,)` of a row's last steps."""
        import torch

        steps, likeliest = ([s[row] for s in of[-n:]] for of in (self._steps, self._likeliest))
        return torch.stack(steps).cpu(), torch.stack(likeliest).cpu()


def use_grouped_attention(config: Any) -> None:
    """Make a decoder that uses sdpa attend to its cached heads as they are, also when compiled.

    There, and for several new tokens under a mask, transformers would copy the whole cache for
    every query head, at every step.
    """
    if config._attn_implementation == "sdpa":
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(_GROUPED, _grouped_sdpa)
        AttentionMaskInterface.register(_GROUPED, sdpa_mask)
        config._attn_implementation = _GROUPED


def _grouped_sdpa(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of few new tokens by their keys' heads; of many as transformers does it.

    Args:
        module: the attention layer.
        query: `(B, heads, n, head_dim)`.
        key: `(B, key_heads, L, head_dim)`, and so is value.
        value: see `key`.
        attention_mask: `(B, 1, n, L)` bool, or None.
        scaling: factor of the scores.
        options: for transformers.

    Returns:
        `(B, n, heads, head_dim)`, and no weights.
    """
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    batch, heads, length, size = query.shape
    n_groups = heads // key.shape[1]
    few = attention_mask is not None and n_groups * length <= key.shape[2]
    if length > 1 and not few:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return whole
    # The query heads of one key head stand where a prompt's tokens would: all see the same keys.
    grouped = query.reshape(batch, key.shape[1], -1, size)
    mask = attention_mask
    if mask is not None and length > 1:
        mask = mask.repeat(1, 1, n_groups, 1)
    attended = scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return attended.reshape(batch, heads, length, size).transpose(1, 2), None


def end_of_answer(text: str) -> int:
    """Length of a text up to the end of its answer; 0 while it has not come to it.

    Tags within a thought are not the answer's.
    """
    thought = text.find(_THOUGHT_END)
    if thought < 0 and _THOUGHT_START in text:
        return 0
    place = text.find(_ANSWER_END, max(thought, 0))
    return place + len(_ANSWER_END) if place >= 0 else 0


def is_shortage(error: Exception) -> bool:
    """Whether memory ran out; each device has its own error and words for it."""
    return any(words in str(error).lower() for words in _NO_MEMORY)
