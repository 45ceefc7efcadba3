"""A server that speaks enough of W&B's protocol for runs to be sent to it, and misbehaves on demand.

>>> with WandbServer() as server:
...     server.behave("hang")
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789" * 4

_ARTIFACT = {
    "__typename": "Artifact",
    "id": "QXJ0aWZhY3Q6MQ==",
    "artifactSequence": {
        "__typename": "ArtifactSequence",
        "id": "QXJ0aWZhY3Q6Mg==",
        "name": "run-1-table",
        "project": {"id": "p1", "name": "memefly", "entity": {"name": "user"}},
        "latestArtifact": {"id": "a1"},
    },
    "versionIndex": 0,
    "artifactType": {"name": "run_table"},
    "description": None,
    "metadata": None,
    "ttlDurationSeconds": -2,
    "ttlIsInherited": True,
    "tags": [],
    "historyStep": None,
    "state": "COMMITTED",
    "size": 1,
    "digest": "1",
    "commitHash": "1",
    "fileCount": 1,
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": None,
    "aliases": [],
}


class WandbServer(ThreadingHTTPServer):
    """`received` are the bodies that were posted to a run's file stream, `asked` the names of GraphQL's operations."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[dict] = []
        self.asked: list[str] = []
        self.behaviour, self.after = "well", 0
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def behave(self, how: str, after: int = 0) -> None:
        """`well`; or, from the request after the next `after` ones on, one of `hang`, `hang up`, `500`, `401`, `page`
        (of a proxy that wants a login), `rubbish` (JSON, but none of W&B's)."""
        self.after = len(self.asked) + after
        self.behaviour = how

    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that went away is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self.server.behaviour if len(self.server.asked) >= self.server.after else "well"
        said = json.loads(body) if self.path.endswith("/graphql") else {}
        query, variables = said.get("query", ""), said.get("variables") or {}
        self.server.asked.append(query.strip().split("{")[0].strip() or self.path)
        if how == "hang":
            while self.server.behaviour == how and not self.server.ended.wait(0.1):
                pass
            self.close_connection = True
        elif how == "hang up":
            self.close_connection = True
        elif how == "page":
            self._answer(200, b"<html><title>Log in to this network</title></html>", "text/html")
        elif how == "rubbish":
            self._answer(200, b'{"data": {"viewer": {"id": "1"}}}')
        elif how != "well":
            self._answer(int(how), b'{"error": "no"}')
        elif not said:
            if self.path.endswith("/file_stream"):
                self.server.received.append(json.loads(body))
            self._answer(200, b"{}")
        elif self.headers.get("Authorization") != "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode():
            self._answer(200, b'{"data": {"viewer": null}}')
        else:
            data = self._data(query, variables)
            answer = {"data": data} if data else {"errors": [{"message": "not known here"}], "data": None}
            self._answer(200, json.dumps(answer).encode())

    do_PUT = do_POST

    def do_GET(self) -> None:
        policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
        contents = {"samples.table.json": {"digest": "1B2M2Y8AsgTpgAmY7PhCfg==", "size": 1}}
        self._answer(200, json.dumps({"version": 1, "contents": contents} | policy).encode())

    def _data(self, query: str, variables: dict) -> dict | None:
        if "query Entity(" in query:
            return {"entity": {"id": "e1"} if variables["name"] == "team" else None}
        if "viewer" in query:
            return {"viewer": {"id": "u1", "entity": "user", "username": "user", "flags": "{}", "teams": {"edges": []}}}
        if "query ArtifactType(" in query:  # of an artifact that is not there yet
            return {"project": {"artifact": None}}
        if "__type(" in query:  # what else it offers: nothing
            kinds = [word.rstrip(":") for word in query.split() if word.endswith("Type:") or word == "TypeInfo:"]
            return {kind: {"fields": [], "inputFields": []} for kind in kinds}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        if "upsertBucket" in query:
            project = {
                "id": "p1",
                "name": variables.get("project") or "memefly",
                "entity": {"id": "e1", "name": "user"},
            }
            name = variables.get("name") or "run"
            bucket = {"id": "b1", "name": name, "displayName": name, "config": "{}", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket | {"sweepName": None, "project": project}, "inserted": True}}
        if "createArtifact(" in query:  # it has the files already
            return {"createArtifact": {"artifact": _ARTIFACT}}
        if "query ArtifactByID" in query:
            return {"artifact": _ARTIFACT}
        if "query FetchArtifactManifest" in query:
            return {"artifact": {"currentManifest": {"file": {"directUrl": f"{self.server.url}/manifest"}}}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.url}/put"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b1", "uploadHeaders": [], "files": files}}
        return None

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
