"""The bundled model in training: its throw-away read-outs, its losses, and a warm start.

Losses are the cross entropy of the answer's tokens (drawn IDs three times), plus that of read-outs
that name the kind, the drawn number and the action at every visual token. Without these read-outs
nothing is learned in reasonable time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stvg_r1_hub.sprites.motion import ACTIONS
from stvg_r1_hub.sprites.scene import KINDS
from train.bundled.collate import ID_WEIGHT
from train.bundled.fast_forward import TokenHeads, patchify, text_forward, vision_forward
from train.bundled.recipes import Stage
from train.bundled.sizes import FACTOR, SMALL, ModelSize
from train.bundled.sprite_samples import IGNORED, MAX_DRAWN_ID
from train.bundled.tiny_model import build_model

_READ_OUTS = {"kind": 1.0, "id": 3.0, "action": 1.0}
"""What is read out at a visual token, with its weight in the loss."""


class TinyModelWithHeads(nn.Module):
    """The model with its throw-away read-outs."""

    def __init__(self, processor: Any, size: ModelSize = SMALL) -> None:
        super().__init__()
        self.qwen = build_model(processor.tokenizer, size)
        self.heads = TokenHeads(size.hidden, len(KINDS), MAX_DRAWN_ID + 1, len(ACTIONS) + 1)


def losses(
    model: TinyModelWithHeads, batch: dict[str, Tensor], stage: Stage
) -> tuple[Tensor, dict[str, float]]:
    """Weighted loss of a batch of `collate.Collator`, and the figures to log."""
    visual = model.qwen.model.visual
    _, _, height, width, _ = batch["frames"].shape
    grid_size = (height // FACTOR, width // FACTOR)
    tokens = vision_forward(visual, patchify(batch["frames"]), grid_size)
    total, figures = _token_loss(model, tokens, batch["labels"])
    total = stage.token_weight * total
    if stage.text_weight:
        hidden = model.qwen.get_input_embeddings()(batch["ids"])
        is_video = (batch["ids"] == model.qwen.config.video_token_id).unsqueeze(-1)
        seen = tokens.view(len(batch["labels"]), -1, tokens.shape[-1]).to(hidden.dtype)
        text_loss, text_figures = _text_loss(
            model,
            hidden.masked_scatter(is_video, seen),
            *(batch[name] for name in ("ids", "weights", "positions")),
        )
        total = total + stage.text_weight * text_loss
        figures |= text_figures
    if "read_ids" in batch:
        read_loss, read_figures = _text_loss(
            model,
            model.qwen.get_input_embeddings()(batch["read_ids"]),
            *(batch[f"read_{name}"] for name in ("ids", "weights", "positions")),
        )
        total = total + stage.text_weight * read_loss
        figures |= {f"read_{name}": value for name, value in read_figures.items()}
    return total, figures | {"loss": float(total.detach())}


def _token_loss(
    model: TinyModelWithHeads, tokens: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy of the read-outs at the visual tokens, and the shares that were right."""
    total = torch.zeros((), device=tokens.device)
    figures: dict[str, float] = {}
    logits = model.heads(tokens)
    labels = labels.flatten(0, 1)
    for i, (name, weight) in enumerate(_READ_OUTS.items()):
        flat, wanted = logits[i].flatten(0, 1).float(), labels[..., i].flatten()
        loss = F.cross_entropy(flat, wanted, ignore_index=IGNORED)
        total = total + weight * loss
        seen = wanted != IGNORED
        figures[name] = float((flat.argmax(-1) == wanted)[seen].float().mean())
    return total, figures


def _text_loss(
    model: TinyModelWithHeads, hidden: Tensor, ids: Tensor, weights: Tensor, positions: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy of the weighted tokens, and the shares that were right."""
    hidden = text_forward(model.qwen.model.language_model, hidden, positions)
    asked = weights[:, 1:] > 0
    scores = model.qwen.lm_head(hidden[:, :-1][asked]).float()
    wanted, weight = ids[:, 1:][asked], weights[:, 1:][asked]
    loss = (F.cross_entropy(scores, wanted, reduction="none") * weight).sum() / weight.sum()
    right = (scores.argmax(-1) == wanted).float()
    figures = {"text": float(right.mean()), "text_loss": float(loss.detach())}
    if bool((weight == ID_WEIGHT).any()):
        figures["answer_id"] = float(right[weight == ID_WEIGHT].mean())
    return loss, figures


def take_over(model: TinyModelWithHeads, tokenizer: Any, folder: Path) -> str:
    """Start from a finished model: equal shapes are copied, embeddings token by token.

    Returns:
        How much was taken over, as a sentence.

    Raises:
        SystemExit: the folder is no model folder.
    """
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    try:
        old = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        known = AutoTokenizer.from_pretrained(folder).get_vocab()
    except (OSError, ValueError) as error:
        sys.exit(f"Cannot start from {folder}: {error}")
    state = model.qwen.state_dict()
    embedding = "model.language_model.embed_tokens.weight"
    shared = [(row, known[text]) for text, row in tokenizer.get_vocab().items() if text in known]
    new, there = (list(rows) for rows in zip(*shared, strict=True))
    taken = 0
    for name, value in old.state_dict().items():
        if name in (embedding, "lm_head.weight"):
            state[name][new] = value[there].to(state[name].dtype)
        elif name in state and state[name].shape == value.shape:
            state[name].copy_(value)
            taken += 1
    return f"took over {taken} of {len(state)} weights and {len(new)} of {len(tokenizer)} tokens"
