"""A server that speaks enough of W&B's protocol for runs to be sent to it, and misbehaves on demand.

>>> with WandbServer() as server:
...     server.behave("hang")
"""

from __future__ import annotations

import base64
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789" * 4


@dataclass
class Stored:
    """A version of an artifact."""

    id: str
    name: str
    type: str
    digest: str
    version: int
    aliases: list[str]
    metadata: str | None = None
    state: str = "PENDING"
    made_by: str = ""
    used_by: list[str] = field(default_factory=list)
    manifest: dict = field(default_factory=dict)

    def told(self) -> dict:
        """As GraphQL's fragment ArtifactFragment has it."""
        project = {"__typename": "Project", "id": "p1", "name": "memefly", "entity": {"name": "user"}}
        sequence = {"__typename": "ArtifactSequence", "id": f"s-{self.name}", "name": self.name, "project": project}
        aliases = [
            {"__typename": "ArtifactAlias", "id": f"{self.id}-{alias}", "alias": alias, "artifactCollection": sequence}
            for alias in self.aliases
        ]
        return {
            "__typename": "Artifact", "id": self.id,
            "artifactSequence": sequence | {"latestArtifact": {"id": self.id}},
            "versionIndex": self.version, "artifactType": {"name": self.type}, "description": None,
            "metadata": self.metadata, "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [],
            "historyStep": None, "state": self.state, "size": 1, "digest": self.digest, "commitHash": self.digest,
            "fileCount": 1, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None, "aliases": aliases,
        }  # fmt: skip


class WandbServer(ThreadingHTTPServer):
    """`received` are the bodies that were posted to a run's file stream, `asked` the names of GraphQL's operations."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[dict] = []
        self.asked: list[str] = []
        self.unknown: list[tuple[str, dict]] = []
        self.runs: dict[str, dict] = {}
        self.artifacts: list[Stored] = []
        self.linked: list[tuple[str, str, list[str]]] = []
        self.files: dict[str, bytes] = {}
        self.views: list[dict] = []
        self.behaviour, self.after = "well", 0
        self.ended = threading.Event()
        self.lock = threading.Lock()

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
        elif not self._knows():
            self._answer(200, b'{"data": {"viewer": null}}')
        else:
            with self.server.lock:
                data = self._data(query, variables)
            if data is None:
                self.server.unknown.append((query, variables))
            answer = {"data": data} if data else {"errors": [{"message": "not known here"}], "data": None}
            self._answer(200, json.dumps(answer).encode())

    def _knows(self) -> bool:
        """The key is the password, whoever the user is: W&B's client says `api`, and netrc `user`."""
        kind, _, said = (self.headers.get("Authorization") or "").partition(" ")
        return kind == "Basic" and base64.b64decode(said).decode().partition(":")[2] == KEY

    def do_PUT(self) -> None:
        self.server.files[self.path] = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(200, b"{}")

    def do_GET(self) -> None:
        self._answer(200, self.server.files.get(self.path, b'{"version": 1, "contents": {}}'))

    def _data(self, query: str, variables: dict) -> dict | None:
        operation = re.match(r"\s*(?:query|mutation)\s+(\w+)", query)
        answer = getattr(self, f"_{operation.group(1)}", None) if operation else None
        if answer is not None:
            return answer(variables)
        if "viewer" in query:
            return {"viewer": {"id": "u1", "entity": "user", "username": "user", "flags": "{}", "teams": {"edges": []}}}
        if "__type(" in query:  # what else it offers: nothing
            kinds = [word.rstrip(":") for word in query.split() if word.endswith("Type:") or word == "TypeInfo:"]
            return {kind: {"fields": [], "inputFields": []} for kind in kinds}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        return None

    def _Entity(self, variables: dict) -> dict:
        return {"entity": {"id": "e1"} if variables["name"] == "team" else None}

    def _UpsertBucket(self, variables: dict) -> dict:
        name = variables.get("name") or f"run{len(self.server.runs)}"
        inserted = name not in self.server.runs
        run = self.server.runs.setdefault(name, {})
        run |= {k: v for k, v in variables.items() if v is not None and k in ("jobType", "config", "displayName")}
        return {"upsertBucket": {"bucket": self._bucket(name), "inserted": inserted}}

    def _RunResumeStatus(self, variables: dict) -> dict:
        bucket = self._bucket(variables["name"]) if variables["name"] in self.server.runs else None
        return {"model": {"id": "p1", "name": "memefly", "entity": {"id": "e1", "name": "user"}, "bucket": bucket}}

    def _bucket(self, name: str) -> dict:
        nothing = {"historyLineCount": 0, "eventsLineCount": 0, "logLineCount": 0, "historyTail": "[]", "tags": []}
        project = {"id": "p1", "name": "memefly", "entity": {"id": "e1", "name": "user"}}
        return nothing | {
            "id": f"b-{name}", "name": name, "displayName": name, "config": "{}", "summaryMetrics": "{}",
            "eventsTail": "[]", "sweepName": None, "project": project, "wandbConfig": '{"t": 1}',
        }  # fmt: skip

    def _CreateArtifact(self, variables: dict) -> dict:
        given = variables.get("input") or variables
        # `wandb sync` of the older lane says it its own way.
        name = given.get("artifactCollectionName") or given["artifactCollectionNames"][0]
        digest = given["digest"]
        of_name = [one for one in self.server.artifacts if one.name == name]
        found = next((one for one in of_name if one.digest == digest), None)
        if found is None:
            found = Stored(
                base64.b64encode(f"Artifact:{len(self.server.artifacts)}".encode()).decode(), name,
                given["artifactTypeName"], digest, len(of_name),
                [], given.get("metadata"), made_by=given.get("runName") or "",
            )  # fmt: skip
            self.server.artifacts.append(found)
            self._alias(found, ["latest"])
        self._alias(found, [one["alias"] for one in given.get("aliases") or []])
        return {"createArtifact": {"artifact": found.told()}}

    def _alias(self, stored: Stored, aliases: list[str]) -> None:
        """An alias is on one version of a name."""
        for other in self.server.artifacts:
            if other.name == stored.name:
                other.aliases = [alias for alias in other.aliases if alias not in aliases or other is stored]
        stored.aliases += [alias for alias in aliases if alias not in stored.aliases]

    def _CreateArtifactManifest(self, variables: dict) -> dict:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(variables["artifactID"], variables)}}

    def _UpdateArtifactManifest(self, variables: dict) -> dict:
        artifact = variables["artifactManifestID"].removeprefix("m-")
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(artifact, variables)}}

    def _manifest(self, artifact: str, variables: dict) -> dict:
        url = f"{self.server.url}/manifests/{artifact}"
        file = {"id": f"f-{artifact}", "uploadUrl": url, "uploadHeaders": [], "directUrl": url}
        return {"id": f"m-{artifact}", "file": file}

    def _FetchArtifactManifest(self, variables: dict) -> dict:
        return {"artifact": {"currentManifest": self._manifest(variables["id"], {})}}

    def _CreateArtifactFiles(self, variables: dict) -> dict:
        nodes = [
            {
                "id": one["name"], "name": one["name"], "displayName": one["name"], "uploadHeaders": [],
                "uploadUrl": f"{self.server.url}/stored/{one['artifactID']}/{one['name']}", "storagePath": one["name"],
                "artifact": {"id": one["artifactID"]}, "uploadMultipartUrls": None,
            }
            for one in (variables.get("input") or variables)["artifactFiles"]
        ]  # fmt: skip
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, variables: dict) -> dict:
        found = self._stored(variables["artifactID"])
        found.state = "COMMITTED"
        found.manifest = json.loads(self.server.files.get(f"/manifests/{found.id}", b'{"contents": {}}'))
        return {"commitArtifact": {"artifact": found.told()}}

    def _GetProjects(self, variables: dict) -> dict:
        user = {"__typename": "User", "id": "u1", "name": "user", "username": "user", "email": None, "admin": False}
        user |= {"flags": "{}", "entity": "user", "deletedAt": None, "apiKeys": None, "teams": None}
        node = {"__typename": "Project", "id": "p1", "name": "memefly", "entityName": "user", "isBenchmark": False}
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": node | {"createdAt": "2026", "user": user}}]}}

    def _upsertView(self, variables: dict) -> dict:
        self.server.views.append(variables)
        view = {"id": "Vmlldzox", "project": {"id": "p1", "name": "memefly", "entityName": "user"}}
        view |= {key: variables.get(key) or "" for key in ("type", "name", "displayName", "description", "spec")}
        return {"upsertView": {"view": view | {"updatedAt": "2026-01-01T00:00:00Z"}, "inserted": True}}

    def _RunUploadUrls(self, variables: dict) -> dict:
        nodes = [{"name": name, "url": f"{self.server.url}/put", "updatedAt": None} for name in variables["files"]]
        files = {"uploadHeaders": [], "edges": [{"node": node} for node in nodes]}
        return {"model": {"bucket": {"id": f"b-{variables['run']}", "files": files}}}

    def _ProjectInternalId(self, variables: dict) -> dict:
        return {"project": {"id": "p1", "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ=="}}

    def _OrganizationCoreWeaveOrganizationID(self, variables: dict) -> dict:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _stored(self, id: str) -> Stored:
        return next(one for one in self.server.artifacts if one.id == id)

    def _named(self, name: str) -> Stored | None:
        name, _, alias = name.rpartition(":")
        of_name = [one for one in self.server.artifacts if one.name == name and one.state == "COMMITTED"]
        return next((one for one in of_name if alias in (*one.aliases, f"v{one.version}")), None)

    def _ArtifactByID(self, variables: dict) -> dict:
        return {"artifact": self._stored(variables["id"]).told()}

    def _ArtifactByName(self, variables: dict) -> dict:
        found = self._named(variables["name"])
        return {"project": {"artifact": found and found.told()}}

    def _ArtifactType(self, variables: dict) -> dict:
        found = self._named(variables["name"])
        return {"project": {"artifact": found and found.told()}}

    def _UseArtifact(self, variables: dict) -> dict:
        found = self._stored(variables.get("artifactID") or variables["input"]["artifactID"])
        found.used_by.append(variables.get("runName") or variables["input"]["runName"])
        return {"useArtifact": {"artifact": found.told()}}

    def _UpdateArtifact(self, variables: dict) -> dict:
        given = variables["input"]
        found = self._stored(given["artifactID"])
        self._alias(found, [one["alias"] for one in given.get("aliases") or []])
        return {"result": {"artifact": found.told()}}

    def _AddAliases(self, variables: dict) -> dict:
        given = variables["input"]
        self._alias(self._stored(given["artifactID"]), [one["alias"] for one in given["aliases"]])
        return {"result": {"success": True}}

    def _CreateRunFiles(self, variables: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.server.url}/put"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "b1", "uploadHeaders": [], "files": files}}

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
