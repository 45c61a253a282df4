"""Detectors of transformers at tiny size with random weights, saved as folders of the Hub are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAMES = {0: "cat", 1: "dog"}
SIDE = 64
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "dog", "fish", "forklift", "##s"]


def _heads(**more: Any) -> dict[str, Any]:
    """What RT-DETRv2 and D-FINE have in common."""
    return {
        "id2label": NAMES,
        "encoder_hidden_dim": 32,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "d_model": 32,
        "decoder_in_channels": [32, 32, 32],
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "num_queries": 20,
        "num_denoising": 0,
        **more,
    }


def _rt_detr_v2() -> tuple[Any, Any]:
    from transformers import RTDetrImageProcessor, RTDetrV2Config, RTDetrV2ForObjectDetection
    from transformers.models.rt_detr import RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrV2Config(backbone_config=backbone, **_heads(encoder_in_channels=[16, 24, 32]))
    return RTDetrV2ForObjectDetection(config), RTDetrImageProcessor(size=_size())


def _d_fine() -> tuple[Any, Any]:
    from transformers import (
        DFineConfig,
        DFineForObjectDetection,
        HGNetV2Config,
        RTDetrImageProcessor,
    )

    backbone = HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 16, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        hidden_sizes=[16, 16, 24, 32],
        depths=[1, 1, 1, 1],
        embedding_size=8,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = DFineConfig(backbone_config=backbone, **_heads(encoder_in_channels=[16, 24, 32]))
    return DFineForObjectDetection(config), RTDetrImageProcessor(size=_size())


def _rf_detr() -> tuple[Any, Any]:
    from transformers import RfDetrConfig, RfDetrForObjectDetection
    from transformers.models.rf_detr import RfDetrImageProcessor

    backbone = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 16,
        "num_windows": 2,
        "out_indices": [1, 2],
    }
    config = RfDetrConfig(
        backbone_config=backbone,
        id2label=NAMES,
        c2f_num_blocks=1,
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=15,
        group_detr=2,
    )
    model = RfDetrForObjectDetection(config)
    model.class_embed.bias.data += 5  # A fresh one is sure of nothing.
    return model, RfDetrImageProcessor(size=_size())


def _size() -> dict[str, int]:
    return {"height": SIDE, "width": SIDE}


FIXED = {"rt-detr-v2": _rt_detr_v2, "d-fine": _d_fine, "rf-detr": _rf_detr}
"""Detectors with fixed classes: the model and its image processor."""


def save_fixed(kind: str, folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    model, processor = FIXED[kind]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def clip_tokenizer() -> Any:
    """Letters alone, in the form of CLIP's own."""
    import string

    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + "'-."
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])


def save_clip_text(folder: Path) -> Path:
    """The text encoder of CLIP, as wide at its end as YOLO-World wants it."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_owlv2(folder: Path) -> Path:
    import torch
    from transformers import (
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = Owlv2Config(
        text_config={
            **small,
            "vocab_size": len(tokenizer),
            "num_attention_heads": 2,
            "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={**small, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 16},
        projection_dim=16,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size=_size()), tokenizer).save_pretrained(folder)
    return folder


def save_grounding_dino(folder: Path) -> Path:
    import torch
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(WORDS),
            num_hidden_layers=1,
            intermediate_size=16,
            num_attention_heads=2,
            hidden_size=32,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=12,
        max_text_len=64,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    size = {"height": 128, "width": 128}  # less leaves one value for each group to be normalized
    images = GroundingDinoImageProcessor(size=size)
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder
