"""Fetch a video from an http(s) address, only when the caller asked for it.

Addresses of this machine and of private networks are refused, after every redirect and on the
connection that is really used, so that a public name cannot point inside.
"""

from __future__ import annotations

import http.client
import ipaddress
import time
from urllib.parse import urljoin, urlsplit

from stvg_r1_hub.errors import VideoError

MAX_DOWNLOAD_BYTES = 1024**3
MAX_DOWNLOAD_SECONDS = 600.0
_MAX_REDIRECTS = 5
_TIMEOUT_SECONDS = 30.0
_CHUNK = 1 << 20


def download(url: str) -> bytes:
    """The content behind an address, at most 1 GiB.

    Raises:
        VideoError: another scheme, an address that is not public, too large or slow, or any
            failure of the network.
    """
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            moved_to, content = _fetch(url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(
                f"Cannot download '{url}' ({error}); check the address, or download the file."
            ) from error
        if moved_to is None:
            return content
        url = urljoin(url, moved_to)
    raise VideoError(
        f"'{url}' redirects more than {_MAX_REDIRECTS} times; download the file yourself."
    )


def _fetch(url: str) -> tuple[str | None, bytes]:
    """One request: where it redirects to, or the content."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise VideoError(f"Got the address '{url}'; only http and https addresses are fetched.")
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.connect()
        _check_public(connection.sock.getpeername()[0], url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "stvg-r1-hub"})
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308):
            return response.getheader("Location") or "", b""
        if response.status != 200:
            raise VideoError(
                f"'{url}' answers {response.status} {response.reason}; check the address."
            )
        return None, _read_body(response, url)
    finally:
        connection.close()


def _check_public(address: str, url: str) -> None:
    if not ipaddress.ip_address(address.split("%")[0]).is_global:
        raise VideoError(
            f"'{url}' leads to {address}, which is no public address; download the file yourself."
        )


def _read_body(response: http.client.HTTPResponse, url: str) -> bytes:
    content = bytearray()
    deadline = time.monotonic() + MAX_DOWNLOAD_SECONDS
    while chunk := response.read(_CHUNK):
        content += chunk
        if len(content) > MAX_DOWNLOAD_BYTES or time.monotonic() > deadline:
            raise VideoError(
                f"'{url}' is larger than {MAX_DOWNLOAD_BYTES:,} bytes or slower than "
                f"{MAX_DOWNLOAD_SECONDS:g} s; download the file yourself."
            )
    return bytes(content)
