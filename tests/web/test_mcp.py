"""The endpoints as tools of an MCP server.

gradio pins an older pydantic for this than the tests have, so it is tested apart: in an environment
with the extra `mcp`, where this file is not skipped.
"""

from __future__ import annotations

import ast
import asyncio
import base64
from typing import Any

import pytest

from tests.web.conftest import Demo

pytest.importorskip("mcp", reason="needs the extra 'mcp'")
pytestmark = pytest.mark.slow


async def _talk(url: str, demo: Demo) -> tuple[list[str], Any, Any]:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    clip = base64.b64encode(demo.clip.read_bytes()).decode()
    async with (
        streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        names = [tool.name for tool in (await session.list_tools()).tools]
        (ground,) = (name for name in names if name.endswith("ground"))
        question = {"queries": demo.query, "model": "tiny"}
        video = f"data:video/mp4;base64,{clip}"
        answer = await session.call_tool(ground, {"video": video, **question})
        inside = await session.call_tool(ground, {"video": f"{url}x.mp4", **question})
        return names, answer, inside


def test_tools(demo: Demo) -> None:
    from stvg_r1_hub.web import launch

    page, url = launch(["tiny"], mcp=True, block=False)
    try:
        names, answer, inside = asyncio.run(_talk(url, demo))
    finally:
        page.blocks.close(verbose=False)
    assert len(names) == 2
    # gradio writes Python here, not JSON: the results, and where the videos are.
    (result,), _ = ast.literal_eval(answer.content[0].text)
    assert demo.overlap(result["start_seconds"], result["end_seconds"]) > 0.5
    # An address of this machine is refused, whoever names it.
    assert inside.isError and "no public address" in inside.content[0].text
