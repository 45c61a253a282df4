"""Many short attentions in a few calls, for vision towers without flash-attention.

A vision tower attends within each frame, and in most layers within windows of a frame. Without
flash-attention transformers calls attention once for each of them, in a Python loop: 160 calls a
layer for a 20-second clip. Here all of equal size share one call of torch's
`scaled_dot_product_attention`; the result is the same up to rounding.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.device import device_of

if TYPE_CHECKING:
    import torch

# transformers hands packed sequences whole to an implementation whose name holds "flash", and
# cuts them into pieces for any other.
_NAME = "packed_sdpa_instead_of_flash"


def use_packed_attention(visual: Any) -> None:
    """Make a Qwen-VL vision tower that uses sdpa attend in few calls; others are left alone."""
    if visual.config._attn_implementation == "sdpa":
        from transformers import AttentionInterface

        AttentionInterface.register(_NAME, _packed_sdpa)
        visual.config._attn_implementation = _NAME


def use_product_for_patches(visual: Any) -> None:
    """Make a vision tower on a CPU embed its patches by one product of matrices.

    A patch is a whole window of the convolution that does it otherwise, in twice the time.
    """
    from torch.nn import Conv3d

    convolution = visual.patch_embed.proj
    # With an adapter beside the weights it is more than a convolution.
    if type(convolution) is Conv3d and visual.device.type == "cpu":
        visual.patch_embed.proj.forward = functools.partial(_embedded, convolution)


def _embedded(convolution: Any, patches: torch.Tensor) -> torch.Tensor:
    """`(N, channels, frames, height, width)` to `(N, features, 1, 1, 1)`."""
    from torch.nn.functional import linear

    kernels = convolution.weight.flatten(1)
    return linear(patches.flatten(1), kernels, convolution.bias)[..., None, None, None]


def grid_inputs(visual: Any, grid_thw: tuple[int, int, int]) -> dict[str, Any]:
    """What a vision tower derives from the shape of its input alone, computed once a shape.

    Args:
        visual: the vision tower of a Qwen-VL model.
        grid_thw: patches along time, height and width.

    Returns:
        Keyword arguments for `get_video_features`.
    """
    window = getattr(visual, "window_size", None)
    return dict(
        _grid_inputs(
            grid_thw, visual.spatial_merge_size, window, visual.config.patch_size, device_of(visual)
        )
    )


@functools.lru_cache(maxsize=8)
def _grid_inputs(
    grid_thw: tuple[int, int, int], merge: int, window: int | None, patch: int, device: torch.device
) -> dict[str, Any]:
    import torch
    from transformers import vision_utils

    grid = torch.tensor([grid_thw])
    t, h, w = grid_thw
    inputs: dict[str, Any] = {
        "position_ids": vision_utils.get_vision_position_ids(grid, merge).to(device),
        "cu_seqlens": (torch.arange(t + 1, dtype=torch.int32) * (h * w)).to(device),
        "max_seqlen": h * w,
    }
    if window is not None:
        index, edges = vision_utils.get_vision_window_index(grid, merge, window, patch)
        inputs["window_index"] = index.to(device)
        inputs["cu_window_seqlens"] = edges.to(device)
        inputs["max_window_seqlen"] = int(edges.diff().max())
    return inputs


def _packed_sdpa(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each of the sequences that `cu_seq_lens_q` `(S + 1,)` cuts.

    Args:
        module: not used.
        query: `(1, heads, L, head_dim)`, and so are key and value.
        key: see `query`.
        value: see `query`.
        attention_mask: not used, every token of a sequence sees all of it.
        cu_seq_lens_q: first token of each sequence, and L.
        scaling: factor of the scores.
        dropout: probability.
        unused: what only flash-attention needs.

    Returns:
        `(1, L, heads, head_dim)`, and no weights.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    _, heads, total, size = query.shape
    output = None
    for places, count in _groups(cu_seq_lens_q):
        # (1, heads, L, d) -> (sequences, heads, length, d)
        q, k, v = (
            (x if places is None else x[:, :, places]).view(heads, count, -1, size).transpose(0, 1)
            for x in (query, key, value)
        )
        attended = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        attended = attended.transpose(1, 2).reshape(1, -1, heads, size)
        if places is None:
            return attended, None
        if output is None:
            output = torch.empty(1, total, heads, size, dtype=query.dtype, device=query.device)
        output[:, places] = attended
    assert output is not None
    return output, None


def _groups(edges: torch.Tensor) -> list[tuple[torch.Tensor | None, int]]:
    """Token places of all sequences of one length, and how many these are.

    The places are None when all sequences are equally long. They are kept on the tensor itself,
    since all layers and all clips of one shape use the same one.
    """
    import torch

    known: list[tuple[torch.Tensor | None, int]] | None = getattr(edges, "groups", None)
    if known is not None:
        return known
    starts = edges.cpu().long()
    lengths = starts.diff()
    groups: list[tuple[torch.Tensor | None, int]] = []
    kinds = sorted(set(lengths.tolist()))
    for length in kinds:
        chosen = starts[:-1][lengths == length]
        places = (chosen[:, None] + torch.arange(length)).reshape(-1)
        groups.append((None if len(kinds) == 1 else places.to(edges.device), len(chosen)))
    edges.groups = groups  # type: ignore[attr-defined]
    return groups
