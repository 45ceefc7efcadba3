"""Beam's engines behind a job server, such as Flink, Spark or Prism: whether they are there.

    >>> knock("localhost:8099")                    # returns, or says within seconds why nobody could run anything there

Nothing of Beam is imported: one call of its Job API (`JobService.DescribePipelineOptions`,
https://beam.apache.org/contribute/runner-guide) tells a job server from anything else that listens.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import grpc

from memefly.errors import EngineError

_DESCRIBE = "/org.apache.beam.model.job_management.v1.JobService/DescribePipelineOptions"
TIMEOUT = 5.0  # seconds
POOL, STATE = "memefly.WorkerPool", "State"  # of our worker pool, beside Beam's own service


def knock(endpoint: str, timeout: float = TIMEOUT) -> bytes:
    """What a job server at HOST:PORT says of the options that it takes, a serialized `DescribePipelineOptionsResponse`;
    nothing from one that says none. Raises `EngineError` where none answers."""
    with grpc.insecure_channel(endpoint) as channel:
        _wait(channel, f"no job server of Beam answers at {endpoint}", timeout)
        ask = channel.unary_unary(_DESCRIBE, request_serializer=bytes, response_deserializer=bytes)
        try:
            return ask(b"", timeout=timeout)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED and "unknown service" not in str(error.details()).lower():
                return b""
            raise EngineError(
                f"what answers at {endpoint} is no job server of Beam ({error.code().name}: {error.details()}). "
                "Expected Flink's, Spark's or Prism's, by its job port (--job_endpoint)"
            ) from None


def knock_at_pool(endpoint: str, timeout: float = TIMEOUT) -> None:
    """Raises `EngineError` where no worker pool answers at HOST:PORT."""
    with grpc.insecure_channel(endpoint) as channel:
        _wait(channel, f"no worker pool answers at {endpoint}", timeout)


class PoolState(NamedTuple):
    pool: str  # another one each time that it is started
    lost: dict[str, str]  # workers that ended otherwise than their engine asked for, and what became of them


def pool_state(endpoint: str, timeout: float = TIMEOUT) -> PoolState | None:
    """What `memefly worker-pool` at HOST:PORT tells of itself; None where no such pool answers."""
    with grpc.insecure_channel(endpoint) as channel:
        ask = channel.unary_unary(f"/{POOL}/{STATE}", request_serializer=bytes, response_deserializer=bytes)
        try:
            return PoolState(**json.loads(ask(b"", timeout=timeout)))
        except (grpc.RpcError, ValueError, TypeError):
            return None


def _wait(channel: grpc.Channel, nobody: str, timeout: float) -> None:
    try:
        grpc.channel_ready_future(channel).result(timeout=timeout)
    except grpc.FutureTimeoutError:
        raise EngineError(
            f"{nobody}: nothing took the call within {timeout:g} seconds. Start it, or mend the address"
        ) from None
