"""The exceptions of memefly.

MemeflyError             exit 1
├── UsageError           exit 2   something that the user wrote is wrong
│   ├── ConfigError               a key or a value of the configuration
│   ├── DataError                 a data set, a caption file, a picture
│   │   ├── PictureError          one picture (carries a short reason code)
│   │   └── QuarantineError       too many records of a data set are bad (carries them)
│   ├── EncoderError              encoder weights: not there, not what they say, not fitting
│   ├── ModelError                an exported model: not there, incomplete, of another make
│   └── PromotionError            a label that cannot be moved so: no such version, not blessed, nothing before it
├── AnomalyError         exit 1   the data contradicts its schema
├── TrainingError        exit 1   training cannot go on (no captions, loss not finite)
│   ├── FeaturesError             features of pictures are gone from the store
│   └── WorkerLostError           one of several workers that train a model is gone
├── PipelineError        exit 1   a component failed
├── DownloadError        exit 1   what was to be fetched is not to be had, or is not what it should be
├── EngineError          exit 1   the engine that Beam's stages run on is not there, or was lost
├── StorageError         exit 1   a store does not answer, or does not let this account in
├── UnsafeError          exit 1   a model has captions for a picture, and none of them may be said
├── BackendError         exit 1   the model server that captions were asked of does not answer
└── BusyError            exit 1   too many requests wait already
"""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
}


class MemeflyError(Exception):
    """Root of everything that memefly raises on purpose."""

    exit_code = 1


class UsageError(MemeflyError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class DataError(UsageError):
    pass


class PictureError(DataError):
    """A picture that cannot be used; `reason` is one of `memefly.images.REASONS`."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class QuarantineError(DataError):
    """More of a data set is bad than the configuration allows; `entries` says what and why."""

    def __init__(self, entries: Sequence[dict], records: int, allowed: float):
        self.entries = list(entries)
        counts = ", ".join(f"{n} {reason}" for reason, n in Counter(e["reason"] for e in entries).most_common())
        first = "; ".join(f"{e['source']}: {e['detail']}" for e in self.entries[:3])
        super().__init__(
            f"{len(self.entries)} of {records} records are bad, more than the {allowed:.0%} that "
            f"data.max_quarantined allows ({counts}). The first: {first}. "
            "Mend the data, or raise data.max_quarantined if losing them is right."
        )


class EncoderError(UsageError):
    pass


class ModelError(UsageError):
    pass


class PromotionError(UsageError):
    pass


class AnomalyError(MemeflyError):
    pass


class TrainingError(MemeflyError):
    pass


class FeaturesError(TrainingError):
    """Features that were in the store are gone, or damaged."""


class WorkerLostError(TrainingError):
    """A worker did not come, or left in the middle of a training."""


class PipelineError(MemeflyError):
    """A component failed; `component` names it and `__cause__` is what it raised."""

    def __init__(self, component: str, message: str):
        super().__init__(message)
        self.component = component


class DownloadError(MemeflyError):
    pass


class EngineError(MemeflyError):
    """What Beam's stages are to run on is not there, or was lost."""


class StorageError(MemeflyError):
    """A store does not answer, or not to this account. It says nothing of what is in it."""


class UnsafeError(MemeflyError):
    """None of the captions that a model found for a picture may be said."""

    reason = "unsafe"

    def __init__(self) -> None:
        super().__init__(
            "none of the captions found may be said (`safety` in the model's memefly.json); a larger beam finds more"
        )


class BackendError(MemeflyError):
    pass


class BusyError(MemeflyError):
    pass


def in_our_words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, of an entry of pydantic's `ValidationError.errors()`."""
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


_ADDRESS = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>|0x[0-9a-f]{6,}")


def refused(error: OSError) -> UsageError | None:
    """Of what the operating system would not do at a path that the user gave (rights, space, a file where a folder is
    wanted); None of another fault, which is ours."""
    if error.filename is None or error.errno not in _REFUSALS:
        return None
    path = error.filename.decode("utf-8", "replace") if isinstance(error.filename, bytes) else error.filename
    return UsageError(f"{path}: {error.strerror}; see to its rights and to the space on its disk, or take another path")


def among_causes(error: BaseException | None) -> MemeflyError | None:
    """What of ours was raised, wherever libraries have wrapped it; None where nothing was."""
    while error is not None:
        if isinstance(error, MemeflyError):
            return error
        error = error.__cause__ or error.__context__
    return None


def first_line(error: BaseException) -> str:
    """What a library's error says, short enough to stand in a message of ours and the same in every run; its type where
    it says nothing."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return _ADDRESS.sub("…", said)[:300]
