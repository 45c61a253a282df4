"""llama.cpp's own server with the bundled model, written as GGUF.

Run as a program it serves until its standard input ends: it is native code, and would take the
tests with it where it fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.hub import BUNDLED

LANGUAGE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
VISION = {
    "attn.proj": "attn_out",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "norm1": "ln1",
    "norm2": "ln2",
}
"""What GGUF calls the parts of a layer."""
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
MODEL, PROJECTOR = "model.gguf", "mmproj.gguf"


def write_gguf(folder: Path, checkpoint: Path = BUNDLED / "tiny") -> None:
    """A Qwen2.5-VL checkpoint without windows in its vision tower, as llama.cpp reads it."""
    from safetensors.numpy import load_file

    config = json.loads((checkpoint / "config.json").read_text())
    weights = {
        name: values.astype(np.float32)
        for name, values in load_file(checkpoint / "model.safetensors").items()
    }
    _write_language_model(folder / MODEL, checkpoint, config["text_config"], weights)
    _write_projector(folder / PROJECTOR, config["vision_config"], weights)


def _write_language_model(
    path: Path, checkpoint: Path, config: dict[str, Any], weights: dict[str, np.ndarray]
) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_sections([*config["rope_parameters"]["mrope_section"], 0])
    _add_tokenizer(writer, checkpoint, config)
    names = {"model.embed_tokens.weight": "token_embd.weight"}
    names["model.norm.weight"] = "output_norm.weight"
    for name, values in weights.items():
        if name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").split(".", 1)
            part, kind = part.rsplit(".", 1)
            writer.add_tensor(f"blk.{layer}.{LANGUAGE[part]}.{kind}", values)
        elif not name.startswith("visual."):
            writer.add_tensor(names[name], values)
    _finish(writer)


def _add_tokenizer(writer: Any, checkpoint: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    tokens, kinds = [""] * config["vocab_size"], [NORMAL] * config["vocab_size"]
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number] = token
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text())


def _write_projector(path: Path, config: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen2.5vl_merger")
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(0)  # Every layer sees the whole picture.
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_size(config["window_size"])
    writer.add_vision_patch_size(config["patch_size"])
    writer.add_vision_embedding_length(config["hidden_size"])
    writer.add_vision_feed_forward_length(config["intermediate_size"])
    writer.add_vision_block_count(config["depth"])
    writer.add_vision_head_count(config["num_heads"])
    writer.add_vision_projection_dim(config["out_hidden_size"])
    writer.add_vision_image_mean([0.48145466, 0.4578275, 0.40821073])
    writer.add_vision_image_std([0.26862954, 0.26130258, 0.27577711])
    for full_name, values in weights.items():
        name = full_name.removeprefix("visual.")
        if name == full_name:
            continue
        part, kind = name.rsplit(".", 1)
        if part == "patch_embed.proj":
            writer.add_tensor("v.patch_embd.weight", values[:, :, 0].copy())
            writer.add_tensor("v.patch_embd.weight.1", values[:, :, 1].copy())
        elif part.startswith("merger"):
            place = "v.post_ln" if part == "merger.ln_q" else f"mm.{part.rsplit('.', 1)[1]}"
            writer.add_tensor(f"{place}.{kind}", values)
        else:
            layer, part = part.removeprefix("blocks.").split(".", 1)
            if part == "attn.qkv":
                for letter, third in zip("qkv", np.split(values, 3), strict=True):
                    writer.add_tensor(f"v.blk.{layer}.attn_{letter}.{kind}", third.copy())
            else:
                writer.add_tensor(f"v.blk.{layer}.{VISION[part]}.{kind}", values)
    _finish(writer)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def llama_server(folder: Path, *options: str) -> Iterator[str]:
    """The address of a server of the GGUF files in a folder, in a process of its own."""
    command = [sys.executable, "-m", "tests.vlm.llama_server", str(folder), *options]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            address = next((line for line in lines if line.startswith("http")), "")
            assert address, (folder / "server.log").read_text()[-2000:]
            yield f"{address.strip()}/v1"
        finally:
            process.communicate(timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--key")
    options = parser.parse_args()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(options.folder / MODEL)
    params.model_alias = {"stvg-tiny"}
    if not options.blind:
        params.mmproj.path = str(options.folder / PROJECTOR)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = options.context, 1, 0
    params.warmup = False
    params.cpuparams.n_threads = 2
    params.port = 20_000 + os.getpid() % 20_000
    if options.key is not None:
        params.api_keys = [options.key]
    server = xllamacpp.Server(params)
    print(f"\n{server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
