"""What a server says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.vlm.server.client import Client
from stvg_r1_hub.vlm.server.refusals import MODEL_VARIABLE

LOWEST_VLLM = (0, 31)
"""vLLM's first release that tells Qwen2.5-VL the times of frames: earlier ones drop them."""
_OWNERS = {"llamacpp": "llama.cpp", "vllm": "vllm", "sglang": "sglang", "library": "ollama"}
"""What is written as the owner of a model, by servers that fill it with their own name."""


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    software: str
    """Such as `"vllm"`; empty where it does not say."""
    version: str
    models: tuple[str, ...]

    @property
    def tells_frame_times(self) -> bool:
        """False for a vLLM that is known to be too old."""
        numbers = re.match(r"(\d+)\.(\d+)", self.version)
        is_old = numbers is not None and (int(numbers[1]), int(numbers[2])) < LOWEST_VLLM
        return not (self.software == "vllm" and is_old)


def look(client: Client) -> Server:
    """What a server says of itself: its models, and for vLLM the version."""
    listed = client.get("/models")
    entries = listed.get("data") if isinstance(listed, dict) else None
    entries = [e for e in entries or () if isinstance(e, dict) and isinstance(e.get("id"), str)]
    owners = {_OWNERS.get(str(entry.get("owned_by")), "") for entry in entries}
    software = owners.pop() if len(owners) == 1 else ""
    described = client.get("/../version") if software in ("", "vllm") else None
    version = str(described.get("version", "")) if isinstance(described, dict) else ""
    return Server(software, version, tuple(entry["id"] for entry in entries))


def only_model(url: str, server: Server) -> str | None:
    """The name that a server gives its model; None when it does not say.

    vLLM and SGLang answer to that name alone.

    Raises:
        ModelError: it serves several.
    """
    if len(server.models) > 1:
        raise ModelError(
            f"The server {url} serves {', '.join(server.models)}; name one as model, or in "
            f"{MODEL_VARIABLE}."
        )
    return server.models[0] if server.models else None
