"""One question over HTTP to a server that speaks OpenAI's chat protocol.

What is passed on is the caller's alone: the key goes to this server, and the login for the Hub to
the Hub's own hosts.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.vlm.server.refusals import refusal_of

_FIRST_WAIT_SECONDS = 0.5
_TRY_AGAIN = (408, 425, 429, 502, 503, 504)
_NO_TOKEN = "EMPTY"
"""What servers without a key are usually sent, instead of somebody's token for the Hub."""
_HUB_HOSTS = ("huggingface.co", "hf.co", "huggingface.cloud")


class Client:
    """Where to ask, and how often."""

    def __init__(self, url: str, token: str | None, timeout_seconds: float, attempts: int) -> None:
        """Remember them; nothing is sent yet; see `ServerVLM`.

        Raises:
            ConfigError: no web address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"Got the server address {url!r}; it must be like 'http://localhost:8000/v1'."
            )
        self.url = url
        base = url.split("?")[0].rstrip("/").removesuffix("/chat/completions").rstrip("/")
        self._base = base if re.search(r"/v\d", parts.path) else f"{base}/v1"
        self._root = re.sub(r"/v\d[^/]*$", "", self._base)
        self._query = f"?{parts.query}" if parts.query else ""
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts

    def get(self, path: str) -> Any:
        """JSON that the server gives for a path below its API, or below its root with `/../`.

        Returns:
            None where there is none.

        Raises:
            ModelError: nobody answers.
        """
        base = self._root if path.startswith("/../") else self._base
        answer = self._try("GET", base + path.removeprefix("/.."), None)
        try:
            return answer.json() if answer.status_code == 200 else None
        except ValueError:
            return None

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """One completion.

        Raises:
            Refusal: the server does not take the question; it is not asked again.
            ModelError: it is down, busy, or does not speak the protocol.
        """
        answer = self._try("POST", f"{self._base}/chat/completions", body)
        kind = answer.headers.get("Content-Type", "")
        if "text/html" in kind or answer.text[:20].lstrip().lower().startswith(("<!doct", "<html")):
            raise ModelError(
                f"The address {self.url} is a web page; give the base address of the server's "
                "programming interface, usually ending in /v1."
            )
        if answer.status_code >= 400:
            raise refusal_of(answer, self.url, body)
        if "event-stream" in kind or answer.text.startswith("data:"):
            raise ModelError(
                f"The server {self.url} streams its answer though it was not asked to; switch "
                "that off, or give the address of the server behind it."
            )
        try:
            values = answer.json()
        except ValueError:
            values = None
        if not isinstance(values, dict) or not values.get("choices"):
            raise self.nonsense(answer.text)
        return values

    def command(self, path: str, body: dict[str, Any]) -> None:
        """Tell the server to do something below its root, such as `/collective_rpc` of vLLM.

        Raises:
            ModelError: it is down, or does not do it.
        """
        answer = self._try("POST", self._root + path, body)
        if answer.status_code >= 400:
            reply = " ".join(answer.text.split())[:120]
            raise ModelError(
                f"The server {self.url} did not do {path} (HTTP {answer.status_code}: {reply})."
            )

    def nonsense(self, got: str) -> ModelError:
        """What to raise for an answer that is none."""
        shown = " ".join(got.split())[:120]
        return ModelError(
            f"The server {self.url} does not speak OpenAI's chat protocol (got {shown}); "
            "give the base address of one that does, usually ending in /v1."
        )

    def _try(self, method: str, address: str, body: dict[str, Any] | None) -> Any:
        """The answer, after some patience with a server that is busy or starting."""
        from huggingface_hub import get_session
        from huggingface_hub.errors import OfflineModeIsEnabled

        key, problem, cause = self._key(), "", None
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
            try:
                answer = get_session().request(
                    method,
                    address + self._query,
                    json=body,
                    headers={"Authorization": f"Bearer {key}"} if key else {},
                    timeout=self._timeout_seconds,
                )
            except OfflineModeIsEnabled as error:
                raise ModelError(
                    f"The server {self.url} was not asked: HF_HUB_OFFLINE keeps the client from "
                    "every address; unset it."
                ) from error
            except _transport_errors() as error:
                slow = "timeout" in type(error).__name__.lower()
                reason = " ".join(str(error).split()) or type(error).__name__
                problem = f"no answer in {self._timeout_seconds:g} s" if slow else reason
                cause = error
                continue
            if answer.status_code not in _TRY_AGAIN:
                return answer
            problem = f"HTTP {answer.status_code}"
        raise ModelError(
            f"The server {self.url} did not answer in {self._attempts} attempts ({problem}); "
            "start it, or try again later."
        ) from cause

    def _key(self) -> str | None:
        """What is sent as bearer token: the login for the Hub to the Hub's own hosts alone."""
        from huggingface_hub import get_token

        if self._token is not None:
            return self._token
        host = urlsplit(self.url)
        of_hub = host.scheme == "https" and any(
            f".{host.hostname}".endswith(f".{name}") for name in _HUB_HOSTS
        )
        return get_token() if of_hub else _NO_TOKEN


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client's HTTP library raises when nobody answers; it has two names by version."""
    loaded = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return tuple(module.TransportError for module in loaded)
