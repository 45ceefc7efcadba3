"""Ports of this machine that nobody listens on."""

import socket


def free(n: int) -> list[int]:
    ports = []
    for _ in range(n):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    return ports
