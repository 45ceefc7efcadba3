"""Hosts on one machine: each a network namespace of Linux with an address and a name of its own, on a switch between
them (ip-netns(8)); nothing of the machine's own network is touched. Needs root, and Debian's iproute2.

    >>> with hosts.several("chief", "helper") as network:
    ...     process = network.start("helper", ["memefly", …], folder)      # which reaches http://chief:…/
    ...     network.cut("helper")                                          # as if its cable were pulled
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def missing() -> str:
    """Why there can be none here; "" where they can."""
    if os.geteuid():
        return "hosts need root"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "hosts need ip and unshare: Debian's iproute2 and util-linux"
    name = f"memefly-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces here ({made.stderr.strip()})"
    switch = subprocess.run(
        ["ip", "-n", name, "link", "add", "switch", "type", "bridge"], capture_output=True, text=True, check=False
    )
    _ip("netns", "del", name)
    return f"no bridges between network namespaces here ({switch.stderr.strip()})" if switch.returncode else ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Network:
    """Of hosts by name; their addresses are 10.71.0.1, 10.71.0.2 and so on."""

    def __init__(self, names: Sequence[str]):
        self._prefix = f"memefly-{uuid.uuid4().hex[:8]}"
        self._switch = f"{self._prefix}-switch"
        self.addresses = {name: f"10.71.0.{i + 1}" for i, name in enumerate(names)}
        self._started: list[subprocess.Popen] = []

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _etc(self, name: str) -> Path:
        """What `ip netns exec` puts in the place of files of /etc."""
        return Path("/etc/netns") / self._namespace(name)

    def build(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        known = "".join(f"{address} {name}\n" for name, address in self.addresses.items())
        for i, (name, address) in enumerate(self.addresses.items()):
            namespace = self._namespace(name)
            _ip("netns", "add", namespace)
            self._etc(name).mkdir(parents=True)
            (self._etc(name) / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
            plug = ["type", "veth", "peer", "name", f"port{i}", "netns", self._switch]
            _ip("-n", namespace, "link", "add", "cable", *plug)
            _ip("-n", self._switch, "link", "set", f"port{i}", "master", "switch", "up")
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "cable")
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "link", "set", "cable", "up")

    def start(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen:
        """A process of that host, in a folder of its own and with nothing of what this one has around it; what it says
        goes to the file `log` there."""
        folder.mkdir(parents=True, exist_ok=True)
        named = ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh", *command]
        around = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), **(environment or {})}
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(shutil.which("ip")), "netns", "exec", self._namespace(name), *named],
                cwd=folder, env=around, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def wait(self, name: str, port: int, by: str, timeout: float = 60.0) -> None:
        """Returns when somebody listens there, seen from the host `by`."""
        knock = ["ip", "netns", "exec", self._namespace(by), "bash", "-c", f"exec 3<>/dev/tcp/{name}/{port}"]
        end = time.monotonic() + timeout
        while subprocess.run(knock, capture_output=True, check=False).returncode:
            assert time.monotonic() < end, f"nobody listens on port {port} of {name}"
            time.sleep(0.2)

    def cut(self, name: str) -> None:
        """Nothing comes to it any more, nor from it, and nobody is told."""
        _ip("-n", self._namespace(name), "link", "set", "cable", "down")

    def mend(self, name: str) -> None:
        _ip("-n", self._namespace(name), "link", "set", "cable", "up")

    def remove(self) -> None:
        for process in self._started:
            kill(process)
        for name in self.addresses:
            subprocess.run(["ip", "netns", "del", self._namespace(name)], check=False, capture_output=True)
            shutil.rmtree(self._etc(name), ignore_errors=True)
        subprocess.run(["ip", "netns", "del", self._switch], check=False, capture_output=True)


def kill(process: subprocess.Popen) -> None:
    """With all that it started, as a machine that loses its power does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def several(*names: str) -> Iterator[Network]:
    """Until the block ends, with all that was started on them."""
    network = Network(names)
    try:
        network.build()
        yield network
    finally:
        network.remove()
