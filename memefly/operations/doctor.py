"""What of this machine and this installation is wrong, and what to do about it, in about a second.

>>> for found in examine(root="root"):
...     print(found.state, found.about, found.told, found.advice)
ok python 3.10.13, of the lane TFX 1.16

Nothing heavy is imported: versions are those of packages' metadata, not of what they say when they are loaded.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from memefly import engine, layout, metadata_store, provenance, storage, textfile
from memefly.errors import EngineError, MemeflyError, StorageError, UsageError

OK, NOTE, WRONG = "ok", "note", "wrong"
LANES = {"1.21": ((3, 11), (3, 13), "2.39"), "1.16": ((3, 10), (3, 10), "2.31")}  # Pythons, and the least glibc
_PACKAGES = ("tensorflow", "tf-keras", "tfx", "apache-beam", "tensorflow-serving-api", "protobuf", "numpy")
_LEAST_GB, _WANTED_GB = 2, 8  # of memory, for the demo and for photographs
_LEAST_DISK_GB, _WANTED_DISK_GB = 1, 10


@dataclass(frozen=True)
class Found:
    about: str
    state: str  # ok | note | wrong
    told: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(
    root: str | Path | None = None,
    tf_serving: str | None = None,
    job_endpoint: str | None = None,
    worker_pool: str | None = None,
) -> list[Found]:
    """Of what is asked, in that order; what hangs is given up after seconds, and told. Raises nothing."""
    checks: dict[str, Callable[[], Iterator[Found]]] = {
        "python": python, "packages": packages, "processor": processor, "memory": memory, "disk": lambda: disk(root),
        "storage": lambda: elsewhere(root), "beam": lambda: runner(job_endpoint, worker_pool), "wandb": wandb,
        "serving": lambda: serving(tf_serving),
    }  # fmt: skip
    with ThreadPoolExecutor(len(checks)) as pool:
        return [found for several in pool.map(_safely, checks, checks.values()) for found in several]


def _safely(about: str, check: Callable[[], Iterator[Found]]) -> list[Found]:
    try:
        return list(check())
    except Exception as error:  # of a machine that nobody foresaw: the other answers are worth having
        return [Found(about, NOTE, f"could not be looked at: {type(error).__name__}: {error}")]


def lane() -> str | None:
    """That this Python is of; None: of none."""
    version = sys.version_info[:2]
    return next((name for name, (least, most, _) in LANES.items() if least <= version <= most), None)


def python() -> Iterator[Found]:
    here, of = platform.python_version(), lane()
    if sys.platform != "linux" or platform.machine() != "x86_64":
        told = f"{platform.system()} on {platform.machine()}"
        yield Found("machine", WRONG, told, "TFX has wheels for Linux on x86-64 alone")
    if of is None:
        told = f"{here}, for which there is no TFX"
        yield Found("python", WRONG, told, "make setup finds or brings one: 3.10, or 3.11 to 3.13 with glibc 2.39")
        return
    glibc, least = platform.libc_ver()[1], LANES[of][2]
    if glibc and _number(glibc) < _number(least):
        told = f"glibc {glibc}, where TFX {of} wants {least}"
        yield Found("glibc", WRONG, told, "make setup LANE=1.16, with Python 3.10, or a newer system")
    yield Found("python", OK, f"{here}, glibc {glibc or 'unknown'}: the lane TFX {of}")


def packages() -> Iterator[Found]:
    """Versions beside the lock's, where this is a checkout; else beside what the package asks for."""
    have = {name: _version(name) for name in _PACKAGES}
    if have["tfx"] is None:
        advice = "pip install 'memefly[pipeline]', or make setup in a checkout"
        yield Found("packages", NOTE, "no TFX: captions, memes and serving work, runs of the pipeline do not", advice)
    locked = _locked()
    other = {name: version for name, version in locked.items() if (_version(name) or version) != version}
    missing = [name for name in locked if _version(name) is None]
    if other or missing:
        wrong = [f"{name} {_version(name)} where the lock has {version}" for name, version in sorted(other.items())]
        wrong += [f"no {name}" for name in sorted(missing)]
        rest = f" and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        yield Found("packages", WRONG, "; ".join(wrong[:6]) + rest, "make setup brings the lock's (rm -r .venv first)")
    elif have["tfx"] is not None:
        told = f"TFX {have['tfx']}, TensorFlow {have['tensorflow']}, Beam {have['apache-beam']}"
        yield Found("packages", OK, told + (f"; all {len(locked)} as the lock has them" if locked else ""))


def _locked() -> dict[str, str]:
    """Name to version of what the lane's lock has for this Python; nothing where this is no checkout."""
    from packaging.requirements import Requirement

    path = provenance.place_of("memefly").parent / "requirements" / f"tfx-{lane()}.txt"
    if not path.is_file():
        return {}
    found = {}
    for line in textfile.read(path).splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def processor() -> Iterator[Found]:
    flags = set(_after("/proc/cpuinfo", "flags").split())
    cores, name = len(os.sched_getaffinity(0)), _after("/proc/cpuinfo", "model name") or platform.processor()
    if "avx" not in flags:
        yield Found("processor", WRONG, f"{name}: no AVX", "TensorFlow's wheels end with SIGILL here: another machine")
        return
    has = dict.fromkeys(told for flag, told in _FEATURES.items() if flag in flags)
    half = (
        "computes in bfloat16" if {"avx512_bf16", "amx_bf16"} & flags else "emulates bfloat16, slowly: float32 serves"
    )
    yield Found("processor", OK, f"{name}, {cores} {'core' if cores == 1 else 'cores'}: {', '.join(has)}; {half}")


_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "amx_bf16": "AMX",
}


def memory() -> Iterator[Found]:
    free = int(_after("/proc/meminfo", "MemAvailable").split()[0]) / 2**20
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        if Path(limit).is_file() and (most := Path(limit).read_text().strip()).isdecimal():
            free = min(free, (int(most) - int(Path(used).read_text())) / 2**30)
    state = WRONG if free < _LEAST_GB else NOTE if free < _WANTED_GB else OK
    advice = "" if state == OK else f"the demo wants {_LEAST_GB} GiB, photographs with three networks {_WANTED_GB}"
    yield Found("memory", state, f"{free:.1f} GiB are free", advice)


def disk(root: str | Path | None) -> Iterator[Found]:
    scratch = Path(tempfile.gettempdir())  # of this process, in that of all (`memefly.temporary`)
    places = {"temporary files": scratch.parent if scratch.name.startswith(".memefly") else scratch}
    if root:
        there = Path(root).resolve()
        while not there.exists():
            there = there.parent
        places["ROOT"] = there
    for what, place in places.items():
        free = shutil.disk_usage(place).free / 2**30
        state = WRONG if free < _LEAST_DISK_GB else NOTE if free < _WANTED_DISK_GB and what == "ROOT" else OK
        advice = {OK: "", NOTE: "features take 0.3 MB a picture", WRONG: f"make room in {place}, or name another"}[
            state
        ]
        if not os.access(place, os.W_OK):
            state, advice = WRONG, f"give this user the right to write to {place}, or name another"
        yield Found("disk", state, f"{what}: {free:.1f} GiB are free in {place}", advice)


def runner(job_endpoint: str | None = None, worker_pool: str | None = None) -> Iterator[Found]:
    version = _version("apache-beam")
    asked = [
        (engine.knock, job_endpoint, "a job server of Beam answers at"),
        (engine.knock_at_pool, worker_pool, "a worker pool answers at"),
    ]
    for knock, endpoint, answers in asked:
        if endpoint:
            try:
                knock(endpoint, timeout=3.0)
            except EngineError as error:
                yield Found("beam", WRONG, str(error), "see docs/engines.md")
            else:
                yield Found("beam", OK, f"{answers} {endpoint}")
    if version and not job_endpoint:
        yield Found(
            "beam", OK, f"Apache Beam {version}; runs on this machine unless `beam:` of a configuration says other"
        )


def elsewhere(root: str | Path | None) -> Iterator[Found]:
    """What of a ROOT does not lie in it: whether it may be written there."""
    if root is None:
        return
    there = layout.of(root)
    for name in layout.INSIDE:
        place = getattr(there, name)
        if isinstance(place, storage.Remote):
            try:
                storage.probe(place)
                yield Found("storage", OK, f"{name} in {place}, which may be written to")
            except StorageError as error:
                yield Found(
                    "storage", WRONG, f"{name}: {error}", f"see docs/storage.md, and {there.root / layout.FILE}"
                )
    if there.metadata:
        try:
            with metadata_store.opened(root, writes=False) as (store, _):
                told = f"ML Metadata at {there.metadata}, {len(store.get_artifacts()):,} artifacts"
            yield Found("storage", OK, told)
        except UsageError as error:
            yield Found("storage", WRONG, str(error), "start the server; see docs/storage.md")


def wandb() -> Iterator[Found]:
    key, mode = os.environ.get("WANDB_API_KEY"), os.environ.get("WANDB_MODE")
    server = (os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").rstrip("/")
    if mode in ("offline", "disabled") or not key:
        told = f"WANDB_MODE is {mode}" if mode in ("offline", "disabled") else "no WANDB_API_KEY"
        yield Found("wandb", OK, f"{told}: runs are kept in ROOT/wandb, nobody is asked")
        return
    from memefly.tracking import server as tracking

    advice = "runs are kept in ROOT/wandb meanwhile; WANDB_MODE=offline asks nobody"
    try:
        if tracking.knows(server, key):
            yield Found("wandb", OK, f"W&B at {server} knows the key")
        else:
            told = f"W&B at {server} does not know the key in WANDB_API_KEY"
            yield Found("wandb", WRONG, told, f"take the one of {server}/authorize, or set WANDB_MODE=offline")
    except tracking.OutOfReach as why:
        yield Found("wandb", NOTE, f"W&B {why}", advice)
    except ModuleNotFoundError:
        yield Found("wandb", NOTE, "a key, and no W&B here", "pip install 'memefly[pipeline]'")


def serving(address: str | None) -> Iterator[Found]:
    if not address:
        return
    from memefly.serving.tf_serving import TensorFlowServing

    backend = TensorFlowServing(address, timeout=3.0)
    try:
        status = backend.status()
    except MemeflyError as error:
        yield Found("serving", WRONG, str(error), "see deploy/README.md")
        return
    finally:
        backend.close()
    if status.ready:
        yield Found("serving", OK, status.detail)
    else:
        advice = "start it (deploy/README.md), or push a version first: memefly run"
        yield Found("serving", WRONG, status.detail or f"nothing answers at {address}", advice)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _after(path: str, name: str) -> str:
    """What follows NAME: in a file of the kernel's; empty where it is not there."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
