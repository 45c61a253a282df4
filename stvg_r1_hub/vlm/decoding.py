"""Model inputs in, answers out: token by token, up to the end of the answer.

On a GPU most of a token's time goes into launching its kernels. Over a cache of fixed length
transformers records a step once, as CUDA graphs, and replays it. Compiling them takes about as long
as some thousand tokens without, so they are used from there on, or at once on request.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import first_line
from stvg_r1_hub.structures import Progress

if TYPE_CHECKING:
    import torch

_ANSWER_END, _THOUGHT_START, _THOUGHT_END = "</answer>", "<think>", "</think>"
_TOKENS_UNTIL_COMPILING_PAYS = 2000
_NO_MEMORY = ("out of memory", "can't allocate memory")
_log = logging.getLogger(__name__)


class Decoder:
    """Generates with one loaded model."""

    def __init__(self, model: Any, tokenizer: Any, static_cache: bool | None = None) -> None:
        """Take a model.

        Args:
            model: a transformers model.
            tokenizer: its tokenizer.
            static_cache: whether the cache has a fixed length, which on a CUDA device compiles
                the steps into graphs; None decides by what was generated so far.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.static_cache = static_cache
        self._n_generated = 0

    def answers(
        self, inputs: dict[str, Any], *, max_new_tokens: int, progress: Progress | None
    ) -> list[str]:
        """One text a row, special tokens removed, cut behind the answer.

        Args:
            inputs: what the model takes, `input_ids` `(B, L)` among it.
            max_new_tokens: length limit of each text.
            progress: called with the stage `"answer"` and the number of tokens so far.
        """
        from transformers import StoppingCriteriaList

        length = inputs["input_ids"].shape[1]

        def ended(ids: torch.Tensor, scores: Any, **unused: Any) -> torch.Tensor:
            if progress is not None:
                progress("answer", ids.shape[1] - length, max_new_tokens)
            return self._ended(ids[:, length:])

        run = functools.partial(
            self.model.generate,
            **inputs,
            max_new_tokens=max_new_tokens,
            stopping_criteria=StoppingCriteriaList([ended]),
        )
        output = self._run(run)[:, length:]
        self._n_generated += output.shape[1]
        texts = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return [text[:end] if (end := end_of_answer(text)) else text for text in texts]

    def _run(self, run: functools.partial[torch.Tensor]) -> torch.Tensor:
        if self._compiling_pays() if self.static_cache is None else self.static_cache:
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
        enough = self._n_generated >= _TOKENS_UNTIL_COMPILING_PAYS
        return enough and plain and self.model.device.type == "cuda"

    def _ended(self, ids: torch.Tensor) -> torch.Tensor:
        """`(B,)` bool, which of the `(B, n)` generated rows have come to their answer's end."""
        import torch

        # Ends are looked for in the last tokens alone; the end is never longer than that.
        tails = self.tokenizer.batch_decode(ids[:, -len(_ANSWER_END) :])
        done = [
            _ANSWER_END in tail and end_of_answer(self.tokenizer.decode(row)) > 0
            for tail, row in zip(tails, ids, strict=True)
        ]
        return torch.tensor(done, device=ids.device)


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
