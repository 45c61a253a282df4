"""SAM 2 at tiny size with random weights, once through transformers and once through sam2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 64
"""Pictures are resized to SIDE x SIDE."""
WIDTHS = (16, 32, 64, 128)


# The sam2 package has these four widths fixed, so that transformers' model has them too.
_MASK_DECODER = {
    "hidden_size": 128,
    "mlp_dim": 2048,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "iou_head_hidden_dim": 256,
}
_MEMORY_ENCODER = {
    "memory_encoder_hidden_size": 128,
    "memory_encoder_output_channels": 64,
    "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128,
    "memory_fuser_intermediate_dim": 512,
}


def build_config() -> Any:
    from transformers import Sam2VideoConfig

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": list(WIDTHS),
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 4, 4],
        "window_positional_embedding_background_size": [7, 7],
        "global_attention_blocks": [3],
    }
    grid = SIDE // 16
    return Sam2VideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": backbone,
            "backbone_channel_list": list(reversed(WIDTHS)),
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE},
        mask_decoder_config=_MASK_DECODER,
        image_size=SIDE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[grid, grid],
        **_MEMORY_ENCODER,
    )


def build_edgetam_config() -> Any:
    """EdgeTAM's memory around SAM 2's picture encoder; its own needs the package timm."""
    from transformers import EdgeTamVideoConfig

    config = build_config()
    grid = SIDE // 16
    return EdgeTamVideoConfig(
        vision_config=config.vision_config.to_dict(),
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE},
        mask_decoder_config=_MASK_DECODER,
        image_size=SIDE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_mlp_hidden_size=32,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_attention_rope_k_sizes=[2, 2],
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        perceiver_resampler_mlp_intermediate_size=32,
        **_MEMORY_ENCODER,
    )


def build_sam3_config() -> Any:
    from transformers import Sam3TrackerVideoConfig

    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 16,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": SIDE,
    }
    return Sam3TrackerVideoConfig(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": backbone,
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config=_MASK_DECODER,
        image_size=SIDE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        **_MEMORY_ENCODER,
    )


def build_model(kind: str = "sam2") -> Any:
    """A model of one of `CONFIGS` that sees differences and believes that objects are there."""
    import torch
    import transformers

    torch.manual_seed(0)
    name, config = CONFIGS[kind]
    model = getattr(transformers, name)(config()).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 3  # Fresh weights are so small that every picture looks the same.
    # A fresh model believes that every object is hidden.
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data += 9
    return model


CONFIGS = {
    "sam2": ("Sam2VideoModel", build_config),
    "edgetam": ("EdgeTamVideoModel", build_edgetam_config),
    "sam3": ("Sam3TrackerVideoModel", build_sam3_config),
}
"""Kind -> its class in transformers, and a tiny configuration."""


def build_processor(kind: str = "sam2") -> Any:
    from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

    size = {"height": SIDE, "width": SIDE}
    if kind == "sam3":
        from transformers import Sam3TrackerVideoProcessor
        from transformers.models.sam3 import Sam3ImageProcessor

        images = Sam3ImageProcessor(size=size, mask_size={"height": SIDE // 4, "width": SIDE // 4})
        return Sam3TrackerVideoProcessor(images, Sam2VideoVideoProcessor(size=size))
    return Sam2VideoProcessor(
        image_processor=Sam2ImageProcessor(
            size=size, mask_size={"height": SIDE // 4, "width": SIDE // 4}
        ),
        video_processor=Sam2VideoVideoProcessor(size=size),
    )


def save_checkpoint(folder: Path, kind: str = "sam2") -> Path:
    build_model(kind).save_pretrained(folder)
    build_processor(kind).save_pretrained(folder)
    return folder


def build_predictor(*, apply_postprocessing: bool = False) -> Any:
    """The same sizes in the sam2 package, without a checkpoint."""
    import torch
    from sam2.build_sam import build_sam2_video_predictor

    grid = SIDE // 16
    encoder, memory = "++model.image_encoder", "++model.memory_attention"
    overrides = [
        f"++model.image_size={SIDE}",
        f"{encoder}.trunk.embed_dim=16",
        f"{encoder}.trunk.stages=[1,1,2,1]",
        f"{encoder}.trunk.global_att_blocks=[3]",
        f"{encoder}.trunk.window_spec=[8,4,4,4]",
        f"{encoder}.neck.d_model=128",
        f"{encoder}.neck.backbone_channel_list={list(reversed(WIDTHS))}",
        f"{encoder}.neck.position_encoding.num_pos_feats=128",
        f"{memory}.d_model=128",
        f"{memory}.num_layers=1",
        f"{memory}.layer.d_model=128",
        f"{memory}.layer.dim_feedforward=32",
        f"{memory}.layer.self_attention.embedding_dim=128",
        f"{memory}.layer.self_attention.feat_sizes=[{grid},{grid}]",
        f"{memory}.layer.cross_attention.embedding_dim=128",
        f"{memory}.layer.cross_attention.kv_in_dim=64",
        f"{memory}.layer.cross_attention.feat_sizes=[{grid},{grid}]",
        "++model.memory_encoder.out_dim=64",
        "++model.memory_encoder.in_dim=128",
        "++model.memory_encoder.position_encoding.num_pos_feats=64",
        "++model.memory_encoder.mask_downsampler.embed_dim=128",
        "++model.memory_encoder.fuser.layer.dim=128",
        "++model.fill_hole_area=0",
    ]
    torch.manual_seed(0)
    return build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        None,
        device="cpu",
        hydra_overrides_extra=overrides,
        apply_postprocessing=apply_postprocessing,
    )
