"""A checkpoint's tokenizer, patches and chat template, by its architecture.

transformers goes by the class names that are written in a checkpoint's files. Some it has renamed
since, others are a trainer's own; the architecture says as well what they must be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stvg_r1_hub.config import TIMES_AS_TEXT
from stvg_r1_hub.errors import ConfigError, ModelError, first_line

VISION_START, VIDEO_PAD, VISION_END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
_QWEN3 = ("Qwen3VLProcessor", "Qwen2VLImageProcessor", "Qwen3VLVideoProcessor")
_CLASSES = {
    "qwen2_vl": ("Qwen2VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor"),
    **dict.fromkeys(TIMES_AS_TEXT, _QWEN3),
}


def load_processor(folder: str | Path, model_type: str) -> Any:
    """The transformers processor of a checkpoint.

    Its chat template may lie in `chat_template.jinja`, `chat_template.json`, or among the settings
    of the processor or of the tokenizer.

    Args:
        folder: with the checkpoint's files.
        model_type: of its config.

    Raises:
        ModelError: it has no chat template.
        OSError: a file is missing or cannot be read; also ValueError and KeyError.
    """
    import transformers

    name = str(folder)
    whole, images, videos = (getattr(transformers, part) for part in _CLASSES[model_type])
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    settings, _ = whole.get_processor_dict(name)
    template = settings.get("chat_template") or tokenizer.chat_template
    if not template:
        raise ModelError(
            f"{name} has no chat template; add the chat_template.jinja of the model it was made "
            "from."
        )
    return whole(
        images.from_pretrained(name),
        tokenizer,
        videos.from_pretrained(name),
        chat_template=template,
    )


def chat_text(processor: Any, prompt: str) -> str:
    """One question as the chat template writes it; the text comes before the video.

    Raises:
        ConfigError: the template cannot be used, or does not write the video's place exactly once.
    """
    from jinja2 import TemplateError

    content = [{"type": "text", "text": prompt}, {"type": "video"}]
    try:
        text: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError) as error:
        raise ConfigError(
            f"The chat template cannot write a question about a video ({first_line(error)[:100]}); "
            "take the one of the model it was made from."
        ) from error
    n_places = text.count(VIDEO_PAD)
    if n_places != 1:
        raise ConfigError(
            f"The chat template made {n_places} video places of one video; the model's "
            f"chat template must write {VIDEO_PAD} exactly once."
        )
    return text
