"""A MariaDB of Debian's on this machine, for tests: what ML Metadata takes for MySQL.

>>> with serving(folder) as server:
...     subprocess.run([…, f"storage.metadata={server.url}"], env={**os.environ, **server.environment})
...     server.stop()
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from memefly.metadata_store import PASSWORD
from tests import ports

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_USER, _DATABASE, _SECRET = "memefly", "memes", "of this test alone"


def missing() -> str:
    """Why there can be none here; empty where there can."""
    for program in ("mariadbd", "mariadb-install-db", "mariadb"):
        if not shutil.which(program, path=_PATH):
            return f"no MariaDB here: {program} is not on PATH (Debian's package mariadb-server)"
    return ""


@dataclass
class Server:
    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"mysql://{_USER}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def environment(self) -> dict[str, str]:
        return {PASSWORD: _SECRET}

    def start(self) -> None:
        program = shutil.which("mariadbd", path=_PATH) or ""
        arguments = [f"--datadir={self.folder}/data", f"--socket={self.folder}/socket", f"--port={self.port}"]
        arguments += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([program, "--no-defaults", _as_user(), *arguments], stdout=log, stderr=log)
        ports.wait(self.port, [self.process], timeout=60)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def ask(self, sql: str) -> str:
        """What its own client says, as its root."""
        program = shutil.which("mariadb", path=_PATH) or ""
        command = [program, "--no-defaults", f"--socket={self.folder}/socket", "--user=root", "--batch", "-e", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def serving(folder: Path):
    """A server with an empty database of `Server.url`'s."""
    (port,) = ports.free(1)
    server = Server(folder, port)
    install = shutil.which("mariadb-install-db", path=_PATH) or ""
    options = [f"--datadir={folder}/data", "--auth-root-authentication-method=normal"]
    command = [install, "--no-defaults", _as_user(), *options]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    try:
        server.start()
        server.ask(
            f"delete from mysql.global_priv where user = ''; create database {_DATABASE}; "
            f"create user {_USER}@'%' identified by '{_SECRET}'; grant all on {_DATABASE}.* to {_USER}@'%'; "
            "flush privileges"
        )
        yield server
    finally:
        server.stop()


def _as_user() -> str:
    return f"--user={pwd.getpwuid(os.geteuid()).pw_name}"  # root, too, has to be named
