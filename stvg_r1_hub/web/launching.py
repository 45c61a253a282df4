"""The server around the page: where it listens, what it may serve, what it deletes."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import ConfigError, require_package

if TYPE_CHECKING:
    from stvg_r1_hub.web.grounding import Grounder
    from stvg_r1_hub.web.limits import Limits

FOLDER = Path(__file__).parent
QUEUE_SIZE = 32
SESSIONS = 300
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")


def launch(
    models: Sequence[str] = (),
    *,
    device: str = "auto",
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    mcp: bool = False,
    max_seconds: float | None = None,
    keep_seconds: int = 3600,
    block: bool = True,
) -> tuple[Any, str]:
    """Serve the page.

    On a ZeroGPU Space the models are loaded before the server starts, as it wants it; anywhere
    else they load in the background while the page is already there.

    Args:
        models: names as `STVGPipeline.from_pretrained` takes them, the first is the default; empty
            takes those of the variable `STVG_MODELS`, or `models.default_models()`.
        device: where the models run.
        host: address to listen on; None is this machine only, or all on a Space.
        port: None takes a free one from 7860 on.
        open_browser: show the page in a browser of this machine.
        mcp: also offer the endpoints as tools of an MCP server; needs the extra `mcp`.
        max_seconds: longest video taken; None is the default of `limits.Limits`.
        keep_seconds: uploads and results that are older are deleted.
        block: wait until the server ends; False returns while it runs.

    Returns:
        The `page.Page`, and its address.

    Raises:
        MissingPackageError: gradio is not installed.
        ConfigError: the device is not there, or the address or port cannot be listened on.
        ModelError: a model's name can be none.
    """
    check_address(host, port)
    # No visit, file name or version leaves this machine unless its owner asks for that.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    gr: Any = require_package("gradio", "app")
    if mcp:
        require_package("mcp", "mcp")
    from gradio.utils import get_upload_folder

    from stvg_r1_hub.web import zerogpu
    from stvg_r1_hub.web.api import add_endpoints
    from stvg_r1_hub.web.grounding import sweep_forever
    from stvg_r1_hub.web.limits import TRIALS, Limits
    from stvg_r1_hub.web.page import Page

    limits = Limits(
        max_seconds=Limits.max_seconds if max_seconds is None else max_seconds,
        keep_seconds=keep_seconds,
    )
    on_zerogpu = zerogpu.is_zero_gpu()
    # Inside gradio's own folder, so that results are served from where they are written.
    results = Path(get_upload_folder()) / f"stvg-{secrets.token_hex(16)}"
    grounder = _grounder(models, device, limits, results, on_zerogpu)
    page = Page(grounder)
    add_endpoints(page, fetch=mcp)
    if on_zerogpu:
        for name in grounder.registry.names:
            grounder.registry.load(name)
    sweep_forever(results, limits.keep_seconds)
    page.blocks.queue(max_size=4 * QUEUE_SIZE, default_concurrency_limit=8)
    TRIALS.stand_ready()
    reach_own_server()
    _, url, _ = page.blocks.launch(
        # gradio's check that its own server answers gives up after three seconds, with a
        # traceback about share links; a busy machine needs longer. Of gradio 6 no public option
        # leaves that check out (`Blocks.launch`, `networking.url_ok`); a test of ours notices
        # when this one goes.
        _frontend=False,
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=not block,
        show_error=False,
        allowed_paths=[],
        max_file_size=limits.max_bytes,
        max_threads=4 * QUEUE_SIZE,  # Everybody who waits holds one.
        state_session_capacity=SESSIONS,
        enable_monitoring=False,
        run_history=False,
        footer_links=["api"],
        mcp_server=mcp,
        ssr_mode=False,
        theme=theme(gr),
        css_paths=[FOLDER / "page.css"],
        head=f"<script>{(FOLDER / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    if not on_zerogpu:
        # Not before: the page comes first.
        grounder.registry.load_in_background()
    if block:
        page.blocks.block_thread()
    return page, url


def _grounder(
    models: Sequence[str] | None, device: str, limits: Limits, results: Path, on_zerogpu: bool
) -> Grounder:
    """What answers the page's questions, of models that are there."""
    from stvg_r1_hub.device import pick_device
    from stvg_r1_hub.hub import local_folder
    from stvg_r1_hub.web.grounding import Grounder
    from stvg_r1_hub.web.models import ModelRegistry, default_models
    from stvg_r1_hub.web.zerogpu_tracking import adapt, adapt_tracker

    pick_device(device)
    names = models or os.environ.get("STVG_MODELS", "").split() or default_models()
    for name in names:
        local_folder(name)
    registry = ModelRegistry(
        names,
        device=device,
        adapt=adapt if on_zerogpu else None,
        adapt_tracker=adapt_tracker if on_zerogpu else None,
    )
    at_once = 4 if on_zerogpu else 1
    return Grounder(registry, limits, results, at_once=at_once, most_waiting=QUEUE_SIZE)


def check_address(host: str | None, port: int | None) -> None:
    """Refuse at once what gradio would try on a hundred ports, or end in a traceback.

    Raises:
        ConfigError: the address is not one of this machine, or the port is taken or not allowed.
    """
    if port is not None and not 0 < port < 65536:
        raise ConfigError(f"A port is a number from 1 to 65535, got {port}.")
    name = (host or "127.0.0.1").strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        socket.create_server((name, port or 0), family=family).close()
    except OSError as error:
        where = name if port is None else f"{name}, port {port}"
        reason = str(error.strerror).partition(" (while")[0]
        raise ConfigError(
            f"Cannot listen on {where}: {reason}; choose another, or leave it out."
        ) from error


def reach_own_server() -> None:
    """Keep what gradio asks of its own server from going through a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "localhost", "127.0.0.1"]))


def theme(gr: Any) -> Any:
    """Fonts of the visitor's own system: none is fetched from anywhere."""
    fonts = list(FONTS)
    mono = ["ui-monospace", "Consolas", "monospace"]
    plain = gr.themes.Default(primary_hue="red", neutral_hue="slate", font=fonts, font_mono=mono)
    # The usual greys and the usual red have less contrast than WCAG's AA asks for, and the box of
    # what is not ticked has next to none.
    quiet = {"light": "*neutral_600", "dark": "*neutral_300"}
    return plain.set(
        **{
            f"{name}{'_dark' if shade == 'dark' else ''}": colour
            for shade, colour in quiet.items()
            for name in (
                "body_text_color_subdued",
                "block_info_text_color",
                "block_label_text_color",
                "block_title_text_color",
                "input_placeholder_color",
                "checkbox_border_color",
            )
        },
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )
