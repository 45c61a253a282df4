"""Qwen2.5-VL's forward pass for many small equal-sized clips at once.

The library's vision tower loops in Python over clips and attention chunks. With one frame size
and full attention everywhere the same numbers come from one batched pass (a test compares both).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.bundled.sizes import FACTOR, MERGE, PATCH, TEMPORAL

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


def patchify(frames: Tensor) -> Tensor:
    """Frames `(B, T, H, W, 3)` uint8 to patches `(B * T / 2, P, 3 * 2 * 14 * 14)` float32.

    Same order as the library's processor: merge blocks row by row, 2 x 2 patches in each.
    """
    batch, length, height, width = frames.shape[:4]
    rows, columns = height // FACTOR, width // FACTOR
    steps = batch * length // TEMPORAL
    grid = frames.view(steps, TEMPORAL, rows, MERGE, PATCH, columns, MERGE, PATCH, 3)
    # (step, time, by, my, py, bx, mx, px, color) -> (step, by, bx, my, mx, color, time, py, px)
    patches = grid.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(
        steps, rows * columns * MERGE**2, 3, -1
    )
    shift = (torch.tensor(IMAGE_MEAN, device=frames.device) * 255).view(3, 1)
    gain = 1 / (torch.tensor(IMAGE_STD, device=frames.device) * 255).view(3, 1)
    return ((patches - shift) * gain).flatten(2)


def patch_positions(rows: int, columns: int) -> Tensor:
    """Row and column of each patch of a frame of `rows x columns` tokens, `(P, 2)`.

    In the order of `patchify`.
    """
    row, column, inner_row, inner_column = np.indices((rows, columns, MERGE, MERGE)).reshape(4, -1)
    positions = np.stack([row * MERGE + inner_row, column * MERGE + inner_column], 1)
    return torch.from_numpy(positions)


def _norm(module: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), module.weight.to(x.dtype), module.variance_epsilon)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def _attend(q: Tensor, k: Tensor, v: Tensor, hidden_pairs: Tensor | None = None) -> Tensor:
    if q.is_cuda:
        mask = None if hidden_pairs is None else hidden_pairs.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # Written out: the fused kernel's backward pass took a quarter of a training step on a CPU.
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if hidden_pairs is not None:
        scores = scores + hidden_pairs.to(scores.dtype)
    return scores.softmax(-1) @ v


def vision_forward(visual: Any, patches: Tensor, grid_size: tuple[int, int]) -> Tensor:
    """Visual tokens `(N, P / 4, D)` of N grid steps, from patches `(N, P, 1176)`.

    Args:
        visual: the library's vision tower.
        patches: of `patchify`.
        grid_size: rows and columns of visual tokens, `P = 4 * rows * columns`.
    """
    steps, n_patches, _ = patches.shape
    weight = visual.patch_embed.proj.weight
    hidden = F.linear(patches.to(weight.dtype), weight.flatten(1))
    cos, sin = visual.rotary_pos_emb(hidden, patch_positions(*grid_size).to(hidden.device))
    cos, sin = cos.to(hidden.dtype), sin.to(hidden.dtype)
    for block in visual.blocks:
        attention = block.attn
        qkv = attention.qkv(_norm(block.norm1, hidden))
        q, k, v = qkv.view(steps, n_patches, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = _attend(_rotate(q, cos, sin), _rotate(k, cos, sin), v)
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(steps, n_patches, -1))
        normed = _norm(block.norm2, hidden)
        mlp = block.mlp
        hidden = hidden + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    merger = visual.merger
    merged = _norm(merger.ln_q, hidden).reshape(steps, n_patches // MERGE**2, -1)
    tokens: Tensor = merger.mlp(merged)
    return tokens


def text_forward(language_model: Any, hidden: Tensor, positions: Tensor) -> Tensor:
    """Hidden states `(B, L, D)` of the decoder under a causal mask.

    Padding must stand at the end of a row: causality then hides it without a mask.

    Args:
        language_model: the library's text model.
        hidden: `(B, L, D)` embeddings.
        positions: `(3, B, L)` M-RoPE positions.
    """
    batch, length, _ = hidden.shape
    cos, sin = language_model.rotary_emb(hidden, positions)
    cos, sin = cos.unsqueeze(1).to(hidden.dtype), sin.unsqueeze(1).to(hidden.dtype)
    future = hidden.new_full((length, length), -torch.inf).triu(1)
    for layer in language_model.layers:
        attention = layer.self_attn
        normed = _norm(layer.input_layernorm, hidden)
        q, k, v = (
            project(normed).view(batch, length, -1, attention.head_dim).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        groups = q.shape[1] // k.shape[1]
        mixed = _attend(
            _rotate(q, cos, sin),
            _rotate(k, cos, sin).repeat_interleave(groups, 1),
            v.repeat_interleave(groups, 1),
            hidden_pairs=future,
        )
        hidden = hidden + attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        normed = _norm(layer.post_attention_layernorm, hidden)
        mlp = layer.mlp
        hidden = hidden + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    return _norm(language_model.norm, hidden)


class TokenHeads(nn.Module):
    """Throw-away linear read-outs that teach visual tokens kind, drawn number and action."""

    def __init__(self, dim: int, n_kinds: int, n_ids: int, n_actions: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(dim, n) for n in (n_kinds, n_ids, n_actions))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Logits of the three labels, `(..., classes)` each."""
        return [head(tokens) for head in self.heads]
