"""An object store on this machine, for tests: what TensorFlow and Beam take for Google Cloud Storage.

    >>> with serving(folder) as store:
    ...     subprocess.run([…, "gs://memefly/data"], env={**os.environ, **store.environment})
    ...     store.put_in(error_every=7)

The store itself is gcp-storage-emulator's. Before it stands a server that speaks TLS as www.googleapis.com, which is
where TensorFlow looks for it whatever one says, through a proxy; and that puts in the faults which a store may have.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import http.server
import json
import logging
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator import server as emulator

from tests import ports

BUCKET = "memefly"
HOME = Path(__file__).parents[1]
_HOSTS = ("www.googleapis.com", "storage.googleapis.com")
_OF_A_CONNECTION = ("host", "connection", "transfer-encoding", "content-length", "date", "server")
_PARTS = (
    b"--part\r\nContent-Type: application/json\r\n\r\n%s\r\n"
    b"--part\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--part--\r\n"
)


@dataclass
class Faults:
    """What is wrong with the store."""

    error_every: int = 0  # each so manieth request is answered with 503, but for batches, which Beam never asks again
    dead: bool = False  # all are
    forbidden: bool = False  # all are answered with 403
    slow: float = 0.0  # seconds before each answer that has content
    lag: float = 0.0  # seconds that lists lack what is new


@dataclass(frozen=True)
class Store:
    environment: dict[str, str]  # with which a process talks to it

    def put_in(self, **faults) -> dict[str, int]:
        """Has the store these faults, and no others, from now on; how often it had which until now."""
        asked = urllib.request.Request(
            f"{self.environment['STORAGE_EMULATOR_HOST']}/faults", json.dumps(faults).encode()
        )
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)


@contextlib.contextmanager
def serving(folder: Path):
    """A store with a bucket, `BUCKET`; in a process of its own: TensorFlow holds Python while it waits for answers."""
    (port,) = ports.free(1)
    certificate = _certificate(folder)
    process = subprocess.Popen([sys.executable, "-m", "tests.object_store", str(port), str(certificate)], cwd=HOME)
    try:
        ports.wait(port, [process], timeout=30)
        yield Store(
            {
                "https_proxy": f"http://127.0.0.1:{port}",
                "no_proxy": "localhost,127.0.0.1",
                "CURL_CA_BUNDLE": str(certificate),
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "anybody",
                "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",  # Beam's client
                "GOOGLE_APPLICATION_CREDENTIALS": str(_account(folder, certificate, port)),
                "GOOGLE_CLOUD_PROJECT": "memefly",
            }
        )
    finally:
        process.kill()
        process.wait()


def main(port: int, certificate: Path) -> None:
    (behind,) = ports.free(1)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    emulator.RequestHandler.disable_nagle_algorithm = True  # or every answer waits for 40 ms
    emulator.create_server("127.0.0.1", behind, in_memory=True, default_bucket=BUCKET).start()
    _Front(port, behind, certificate).serve_forever()


def _certificate(folder: Path) -> Path:
    """A file with a key and a certificate for `_HOSTS`, which signs itself."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _HOSTS[0])])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in _HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "store.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, form, plain) + built.public_bytes(pem))
    return path


def _account(folder: Path, certificate: Path, port: int) -> Path:
    """Credentials, as the store of one's own gives them to an account."""
    private = certificate.read_text().partition("-----BEGIN CERTIFICATE")[0]
    said = {
        "type": "service_account", "project_id": "memefly", "private_key_id": "1", "private_key": private,
        "client_email": "anybody@memefly", "token_uri": f"http://127.0.0.1:{port}/token",
    }  # fmt: skip
    path = folder / "account.json"
    path.write_text(json.dumps(said))
    return path


class _Front(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, behind: int, certificate: Path):
        super().__init__(("127.0.0.1", port), _Handler)
        self.own, self.behind = f"http://127.0.0.1:{port}", behind
        self.faults, self.had = Faults(), Counter()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        self.lock, self.asked = threading.Lock(), 0
        self.written: dict[str, float] = {}  # when each object came last

    def handle_error(self, request, client_address) -> None:
        pass  # of clients that leave in the middle


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Front

    def do_CONNECT(self) -> None:  # of a proxy: what is meant for another host stays here
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def answer(self) -> None:
        body = self._body()
        if self.path == "/token":
            self._send(200, {"Content-Type": "application/json"}, b'{"access_token": "anybody", "expires_in": 3600}')
        elif self.path == "/faults":
            had, self.server.had = self.server.had, Counter()
            self.server.faults = Faults(**json.loads(body))
            self._send(200, {"Content-Type": "application/json"}, json.dumps(had).encode())
        elif self.path.endswith("/storageLayout"):  # which later TensorFlows ask for, and the emulator does not know
            self._send(200, {"Content-Type": "application/json"}, b'{"hierarchicalNamespace": {"enabled": false}}')
        elif fault := self._fault():
            self._send(fault, {"Content-Type": "application/json"}, b'{"error": {"code": %d}}' % fault)
        else:
            status, headers, content = self._forward(body)
            if content and self.server.faults.slow:
                self.server.had["slow"] += 1
                time.sleep(self.server.faults.slow)
            self._send(status, headers, self._listed(content) if status == 200 else content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer

    def _fault(self) -> int:
        faults = self.server.faults
        batch = self.path.startswith("/batch/")
        with self.server.lock:
            self.server.asked += not batch
            if faults.forbidden:
                return 403
            if faults.dead or (faults.error_every and not batch and self.server.asked % faults.error_every == 0):
                self.server.had["error"] += 1
                return 503
        return 0

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        behind = f"127.0.0.1:{self.server.behind}"
        connection = http.client.HTTPConnection(behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION}
        path = self.path
        if (
            self.command == "POST" and "uploadType=media" in path and not body
        ):  # of nothing the emulator knows no upload
            path = path.replace("uploadType=media", "uploadType=multipart")
            headers["Content-Type"] = "multipart/related; boundary=part"
            (name,) = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)["name"]
            body = _PARTS % json.dumps({"name": name}).encode()
        connection.request(self.command, path, body, {**headers, "Host": behind})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        # Where the rest of an upload is to go: the client knows this server by another name.
        own = self.server.own if not isinstance(self.connection, ssl.SSLSocket) else f"https://{_HOSTS[0]}"
        kept = {
            name: value.replace(f"http://{behind}", own)
            for name, value in response.getheaders()
            if name.lower() not in _OF_A_CONNECTION
            # Of an upload of which nothing came, the emulator says that it has the first byte.
            and (response.status, name.lower(), value) != (308, "range", "bytes=0-0")
        }
        if self.command in ("POST", "PUT") and response.status == 200 and content.startswith(b"{"):
            self._note(content)
        return response.status, kept, content

    def _note(self, content: bytes) -> None:
        """When an object came."""
        said = json.loads(content)
        said = said.get("resource", said)
        if said.get("kind") == "storage#object":
            with self.server.lock:
                self.server.written[said["name"]] = time.monotonic()

    def _listed(self, content: bytes) -> bytes:
        """A list, as it looked a while ago."""
        path = urllib.parse.urlsplit(self.path).path
        if self.command != "GET" or not path.endswith("/o") or not self.server.faults.lag:
            return content
        said, then = json.loads(content), time.monotonic() - self.server.faults.lag
        with self.server.lock:
            old = {name for name, came in self.server.written.items() if came <= then}
            new = set(self.server.written) - old
        kept = [one for one in said.get("items", []) if one["name"] not in new]
        prefixes = [one for one in said.get("prefixes", []) if any(name.startswith(one) for name in old)]
        hidden = len(said.get("items", [])) - len(kept) + len(said.get("prefixes", [])) - len(prefixes)
        self.server.had["lag"] += hidden
        return json.dumps({**said, "items": kept, "prefixes": prefixes}).encode()

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format, *args) -> None:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
