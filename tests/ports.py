"""Ports of this machine that nobody listens on."""

import socket
import subprocess
import time


def free(n: int) -> list[int]:
    ports = []
    for _ in range(n):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    return ports


def wait(port: int, processes: list[subprocess.Popen], timeout: float) -> None:
    """Returns when somebody listens on it; fails when one of those that were to is gone, or nobody came in time."""
    end = time.monotonic() + timeout
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        gone = [process.args for process in processes if process.poll() is not None]
        assert not gone, f"ended early: {gone}"
        assert time.monotonic() < end, f"nobody listens on {port}"
        time.sleep(0.1)
