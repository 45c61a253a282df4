"""A small Hub on this machine: what huggingface_hub sends when it uploads, and fetches again.

Repositories, branches and objects are kept in memory; every request is written down, and faults
can be set. `endpoint` goes into HF_ENDPOINT. Large files come through xet (hf_xet, the default) or
through LFS (HF_HUB_DISABLE_XET=1). For the former, HF_XET_XORB_COMPRESSION_POLICY=none must be
set. Its formats: https://huggingface.co/docs/xet
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

Fault = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers and body of a refusal."""
LFS_ENDINGS = (".safetensors", ".onnx", ".bin")


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    messages: list[tuple[str, str]] = field(default_factory=list)
    """Branch and message of every commit."""

    def oid(self, branch: str) -> str:
        files = self.branches[branch]
        state = "".join(f"{name} {sha256(data)}\n" for name, data in sorted(files.items()))
        return hashlib.sha1(state.encode()).hexdigest()


class Hub:
    """What is stored, what was asked, and what shall go wrong."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        """Content of large files by SHA-256, however it came."""
        self.chunks: dict[str, list[bytes]] = {}
        """Of every xorb, by its hash."""
        self.requests: list[tuple[str, str]] = []
        self.received: dict[str, int] = {}
        """Bytes of content, by LFS object or xorb; of the same twice when it came twice."""
        self.faults: dict[str, Fault] = {}
        """Refusals by a pattern of `METHOD PATH`; status 0 hangs up in the middle."""
        self.hangs_up_after: int | None = None
        """So many bytes of a large file are sent at most."""
        self.part_bytes: int | None = None
        """Larger objects are asked for in parts of this size."""
        self.parts: dict[str, dict[int, bytes]] = {}

    def refuse(self, pattern: str, status: int, message: str = "", code: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self.faults[pattern] = (status, {k: v for k, v in headers.items() if v}, {})

    def paths(self, method: str) -> list[str]:
        return [path for name, path in self.requests if name == method]

    def files(self, repo: str, branch: str = "main") -> dict[str, str]:
        """SHA-256 of all files."""
        return {n: sha256(d) for n, d in self.repositories[repo].branches[branch].items()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blob_oid(name: str, data: bytes) -> str:
    """What git calls a file's content; for an LFS file its SHA-256."""
    if name.endswith(LFS_ENDINGS):
        return sha256(data)
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def xet_hash(data: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", data))


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        for pattern, (status, headers, values) in self.hub.faults.items():
            if re.search(pattern, f"{self.command} {path}"):
                if status == 0:
                    self.rfile.read(1000)
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return None
                self.read_body()
                return self.send(status, values, headers)
        body = self.read_body()
        for method, pattern, action in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return action(self, body, *found.groups())
        return self.send(404, {"error": f"no {path}"})

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        limit = self.hub.hangs_up_after
        if self.command != "HEAD":
            self.wfile.write(data[:limit])
            self.close_connection = limit is not None and len(data) > limit

    # Repositories

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.repositories:
            url = f"{self.hub.endpoint}/{repo}"
            return self.send(409, {"error": "You already created this model repo", "url": url})
        self.hub.repositories[repo] = Repository(asked.get("visibility") == "private")
        return self.send(200, {"url": f"{self.hub.endpoint}/{repo}"})

    def branch(self, body: bytes, repo: str, name: str) -> None:
        branches = self.hub.repositories[repo].branches
        if name in branches:
            return self.send(409, {"error": "Reference already exists"})
        branches[name] = dict(branches["main"])
        return self.send(200, {})

    def info(self, body: bytes, repo: str, revision: str | None) -> None:
        found = self.found(repo, revision)
        if found is None:
            return self.send(404, {}, {"X-Error-Code": "RepoNotFound"})
        branch, files = found
        values = {"id": repo, "sha": self.hub.repositories[repo].oid(branch)}
        return self.send(200, {**values, "siblings": [{"rfilename": name} for name in files]})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        found = self.found(repo, revision)
        if found is None:
            return self.send(404, {}, {"X-Error-Code": "RevisionNotFound"})
        listed = [
            {"type": "file", "path": name, "size": len(data), "oid": blob_oid(name, data)}
            for name, data in found[1].items()
        ]
        return self.send(200, listed)

    def resolve(self, body: bytes, repo: str, revision: str, name: str) -> None:
        found = self.found(repo, revision)
        if found is None or name not in found[1]:
            return self.send(404, {}, {"X-Error-Code": "EntryNotFound"})
        data = found[1][name]
        etag, commit = blob_oid(name, data), self.hub.repositories[repo].oid(found[0])
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.send(206 if start else 200, data[start:], headers)

    def found(self, repo: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get(repo)
        for branch, files in (repository.branches if repository else {}).items():
            assert repository is not None
            if revision in (None, branch, repository.oid(branch)):
                return branch, files
        return None

    # Uploads

    def validate(self, body: bytes) -> None:
        front = json.loads(body)["content"].split("---\n")[1]
        try:
            assert isinstance(yaml.safe_load(front), dict)
        except (yaml.YAMLError, AssertionError) as error:
            return self.send(400, {"errors": [{"message": str(error)}]})
        return self.send(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        there = self.hub.repositories[repo].branches.get(revision)
        if there is None:
            return self.send(404, {}, {"X-Error-Code": "RevisionNotFound"})
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS_ENDINGS) else "regular",
                "shouldIgnore": False,
                "oid": blob_oid(file["path"], there[file["path"]])
                if file["path"] in there
                else None,
            }
            for file in json.loads(body)["files"]
        ]
        return self.send(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        objects = []
        for asked in json.loads(body)["objects"]:
            if asked["oid"] not in self.hub.objects:
                href = f"{self.hub.endpoint}/objects/{asked['oid']}"
                asked["actions"] = {"upload": {"href": href, "header": self.parts_of(asked)}}
            objects.append(asked)
        return self.send(200, {"transfer": "basic", "objects": objects})

    def parts_of(self, asked: dict[str, Any]) -> dict[str, str]:
        size = self.hub.part_bytes
        if size is None or asked["size"] <= size:
            return {}
        count = -(-asked["size"] // size)
        parts = {str(i + 1): f"{self.hub.endpoint}/part/{asked['oid']}/{i}" for i in range(count)}
        return {"chunk_size": str(size), **parts}

    def put(self, body: bytes, oid: str) -> None:
        self.hub.received[oid] = self.hub.received.get(oid, 0) + len(body)
        if sha256(body) != oid:
            return self.send(400, {"error": "wrong content"})
        self.hub.objects[oid] = body
        return self.send(200, {})

    def put_part(self, body: bytes, oid: str, number: str) -> None:
        self.hub.received[oid] = self.hub.received.get(oid, 0) + len(body)
        self.hub.parts.setdefault(oid, {})[int(number)] = body
        return self.send(200, {}, {"ETag": f'"{sha256(body)}"'})

    def complete(self, body: bytes, oid: str) -> None:
        whole = b"".join(data for _, data in sorted(self.hub.parts.pop(oid).items()))
        if sha256(whole) != oid:
            return self.send(400, {"error": "wrong content"})
        self.hub.objects[oid] = whole
        return self.send(200, {})

    # Xet: https://huggingface.co/docs/xet

    def token(self, body: bytes, repo: str, revision: str) -> None:
        values = {
            "casUrl": f"{self.hub.endpoint}/cas",
            "accessToken": "of xet",
            "exp": int(time.time()) + 3600,
        }
        return self.send(200, values)

    def xorb(self, body: bytes, name: str) -> None:
        """Chunks, each behind version, stored size (3 bytes), compression and size (3 bytes)."""
        self.hub.received[name] = self.hub.received.get(name, 0) + len(body)
        chunks, place = [], 0
        while place < len(body) and body[place] == 0:
            size = int.from_bytes(body[place + 1 : place + 4], "little")
            assert body[place + 4] == 0, "compressed"
            chunks.append(body[place + 8 : place + 8 + size])
            place += 8 + size
        self.hub.chunks[name] = chunks
        return self.send(200, {"was_inserted": True})

    def shard(self, body: bytes) -> None:
        """Which chunks of which xorbs make which file: records of 48 bytes after the header."""
        records = struct.iter_unpack("<32sIIII", body[48 : len(body) - len(body) % 48])
        for name, flags, count, *_ in records:
            if name == b"\xff" * 32:  # The end of the files.
                break
            content = b""
            for _ in range(count):
                xorb, _, _, first, stop = next(records)
                content += b"".join(self.hub.chunks[xet_hash(xorb)][first:stop])
            for _ in range(count if flags >> 31 & 1 else 0):
                next(records)
            if flags >> 30 & 1:
                oid = xet_hash(next(records)[0])
                assert sha256(content) == oid
                self.hub.objects[oid] = content
        return self.send(200, {"result": 1})

    # Commits

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        repository = self.hub.repositories[repo]
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(repository.branches[revision])
        message = ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif value["oid"] not in self.hub.objects:
                return self.send(400, {"error": f"LFS object {value['oid']} was not uploaded"})
            else:
                files[value["path"]] = self.hub.objects[value["oid"]]
        repository.branches[revision] = files
        repository.messages.append((revision, message))
        oid = repository.oid(revision)
        url = f"{self.hub.endpoint}/{repo}/commit/{oid}"
        return self.send(200, {"commitUrl": url, "commitOid": oid})

    def log_message(self, *_: object) -> None:
        pass


_MODEL = r"/api/models/([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", _MODEL + "/branch/(.+)", Handler.branch),
    ("POST", _MODEL + "/preupload/(.+)", Handler.preupload),
    ("POST", _MODEL + "/commit/(.+)", Handler.commit),
    ("GET", _MODEL + "/tree/([^/]+)/?", Handler.tree),
    ("GET", _MODEL + "(?:/revision/(.+))?", Handler.info),
    ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/objects/(.+)", Handler.put),
    ("POST", "/objects/(.+)", Handler.complete),
    ("GET", _MODEL + "/xet-write-token/(.+)", Handler.token),
    ("POST", "/cas/v1/xorbs/default/(.+)", Handler.xorb),
    ("POST", "/cas/v1/shards", Handler.shard),
    ("PUT", "/part/(.+)/(.+)", Handler.put_part),
    ("GET HEAD", "/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", Handler.resolve),
]


@contextmanager
def serving(hub: Hub | None = None) -> Iterator[Hub]:
    """A hub at an address, until the block ends; what it stores may be served again."""
    hub = hub or Hub()

    class Bound(Handler):
        pass

    Bound.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
