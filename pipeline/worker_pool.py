"""Workers of an engine on this machine: Beam's worker pool, which starts one whenever the engine asks for it.

    >>> with serving(50000):                # until the block ends
    ...     signal.pause()

Workers are processes of this very Python, wherever `python` on PATH leads; they need the storage that ROOT and DATA lie
on, by the same paths. Which of them were lost is told to who asks (`memefly.engine.pool_state`): not every engine
notices.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer, kill_process_gracefully
from apache_beam.utils import thread_pool_executor

from memefly import engine, provenance
from memefly.errors import UsageError


class _Pool(BeamFnExternalWorkerPoolServicer):
    def lost(self) -> dict[str, str]:
        """By the name of a worker that ended by itself and not well, or was killed: how."""
        ended = {name: process.poll() for name, process in list(self._worker_processes.items())}
        return {name: _how(status) for name, status in ended.items() if status}

    def stop(self) -> None:
        for process in list(self._worker_processes.values()):
            if process.poll() is None:
                kill_process_gracefully(process)


def _how(status: int) -> str:
    if status > 0:
        return f"ended with status {status}; the log of its worker pool says why"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"was killed by {name}" + (", as a system out of memory does" if -status == signal.SIGKILL else "")


@contextlib.contextmanager
def serving(port: int) -> Iterator[str]:
    """HOST:PORT where the pool answers, on all of this machine's addresses. Raises `UsageError` where the port is not
    to be had, or this Python has no `python` beside it."""
    folder = Path(sys.executable).parent
    if not os.access(folder / "python", os.X_OK):
        raise UsageError(
            f"Beam starts workers as `python`, and there is none in {folder}; install memefly in a virtual environment"
        )
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    home = str(provenance.place_of("components").parent)  # a checkout need not be installed
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    pool = _Pool(use_process=True, state_cache_size=0, data_buffer_time_limit_ms=-1)  # as Beam's own command has it
    patient = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0), ("grpc.so_reuseport", 0)]
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=patient)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    name = uuid.uuid4().hex
    tell = grpc.unary_unary_rpc_method_handler(
        lambda request, context: json.dumps({"pool": name, "lost": pool.lost()}).encode(),
        request_deserializer=bytes,
        response_serializer=bytes,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(engine.POOL, {engine.STATE: tell}),))
    try:
        bound = server.add_insecure_port(f"[::]:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise UsageError(f"port {port} is not to be had, somebody listens there; take another one with --port")
    server.start()
    try:
        yield f"localhost:{bound}"
    finally:
        server.stop(0)
        pool.stop()
