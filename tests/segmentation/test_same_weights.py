"""Both SAM 2 backends with the same weights give the same masks."""

import re
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.segmentation import PackageSam2, TransformersSam2
from tests.segmentation.test_sam2 import follow
from tests.tiny_sam2 import SIDE, build_model, build_predictor, build_processor

COUNT = 12

# What transformers calls a weight -> what Meta's package calls it; applied one after the other.
NAMES = (
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (
        r"^prompt_encoder\.shared_embedding\.positional_embedding$",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "sam_prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "sam_prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "sam_prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "sam_prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "sam_prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.upscale_conv1\.", "sam_mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "sam_mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "sam_mask_decoder.output_upscaling.3."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^memory_encoder\.mask_downsampler\.final_conv\.", "memory_encoder.mask_downsampler.@12."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.memory_fuser\.(.*)\.scale$", r"memory_encoder.fuser.\1.gamma"),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"depthwise_conv", "dwconv"),
    (r"pointwise_conv", "pwconv"),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"layer_norm", "norm"),
    (r"\.o_proj\.", ".out_proj."),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
)


def package_name(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    stage = re.match(r"memory_encoder\.mask_downsampler\.layers\.(\d)\.(conv|norm)\.(.*)", name)
    if stage:  # Convolution, norm, activation, ...: three places a stage.
        place = 3 * int(stage[1]) + (stage[2] == "norm")
        return f"memory_encoder.mask_downsampler.encoder.{place}.{stage[3]}"
    name = name.replace("@12", "encoder.12")
    # A perceptron's layers: first, those between, last; here they are numbered from 0 on.
    if ".mlp.proj_" in name:
        return name.replace("proj_in", "layers.0").replace("proj_out", "layers.1")
    if "mlps." in name or "_head." in name or name.startswith("obj_ptr_proj."):
        name = re.sub(r"\.layers\.0\.", ".layers.1.", name)
        return name.replace("proj_in", "layers.0").replace("proj_out", "layers.2")
    return name


def package_weights(weights: dict[str, Any]) -> dict[str, Any]:
    renamed = {}
    for name, value in weights.items():
        if name == "shared_image_embedding.positional_embedding":
            continue  # The prompt encoder has it too.
        if name == "prompt_encoder.point_embed.weight":
            for i, row in enumerate(value):
                renamed[f"sam_prompt_encoder.point_embeddings.{i}.weight"] = row[None]
            continue
        renamed[package_name(name)] = value
    return renamed


def test_both_backends_give_the_same_masks_for_the_same_weights() -> None:
    """Frames as large as the model wants them, since the two resize pictures in different ways.

    From a box the masks are the same pixel by pixel. From a mask they differ at the edge: the
    package remembers the given mask at a quarter of its size, transformers in full.
    """
    pytest.importorskip("sam2")
    model = build_model()
    # One weight of a checkpoint, two of a fresh model.
    own = model.prompt_encoder.shared_embedding.positional_embedding
    model.shared_image_embedding.positional_embedding.data.copy_(own)
    predictor = build_predictor(apply_postprocessing=True)
    predictor.fill_hole_area = 0  # As our backend has it where there is no CUDA kernel.
    missing, unknown = predictor.load_state_dict(package_weights(model.state_dict()))
    assert not missing and not unknown
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(COUNT)]
    seen = np.zeros((SIDE, SIDE), bool)
    seen[12:40, 20:50] = True
    starts = {1: (0, {"box": np.array([10, 8, 40, 50], np.float32)}), 2: (5, {"mask": seen})}
    size = (SIDE, SIDE)
    one, _ = follow(TransformersSam2(model, build_processor()), frames, starts, size=size)
    two, _ = follow(PackageSam2(predictor), frames, starts, size=size)
    for object_id in starts:
        for mask, other in zip(one[object_id], two[object_id], strict=True):
            assert 0.02 < mask.mean() < 0.98, "an empty or full mask would show nothing"
            assert (mask != other).mean() <= (0.001 if object_id == 1 else 0.02)
