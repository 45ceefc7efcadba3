"""Where captions come from: a model in this process (`local_model`), or TensorFlow Serving (`tf_serving`).

    >>> backend = LocalModel("root/serving/captioner")
    >>> backend = TensorFlowServing("localhost:8500", label="stable")
    >>> answer = backend.caption(picture.data, {"beam": 5})
    >>> answer.captions, answer.model.version         # [Caption("a cat on a mat", -0.41), …], best first; 1700000000

All take pictures that `memefly.images.canonical` passed: they are checked before they share a batch with others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from memefly.errors import BackendError, PictureError, UnsafeError
from memefly.exported.captions import Caption, Looked, Reader
from memefly.exported.manifest import MODEL_NAME, is_lite


@dataclass(frozen=True)
class Model:
    """Which one answered. `digest` is that of `memefly.json`, where it is known; `samples`: it draws captions, so that
    they hang on a seed."""

    version: int | None
    digest: str | None = None
    samples: bool = False
    name: str = MODEL_NAME


@dataclass(frozen=True)
class Status:
    """Whether there is a model that answers, and which."""

    ready: bool
    model: Model
    detail: str


@dataclass(frozen=True)
class Answer:
    """To one picture: captions, best first, one at least."""

    captions: list[Caption]
    model: Model


class Backend(Protocol):
    """Called from many threads."""

    def caption(self, data: bytes, knobs: dict[str, Any]) -> Answer:
        """Of a picture; `knobs` of `memefly.decoding_config` that differ from the model's own, and a `prefix` that
        captions begin with. Raises `PictureError` where the graph cannot decode it, `UnsafeError` where none of its
        captions may be said, `ModelError` where a knob cannot be so, `BusyError` and `BackendError` where no answer
        comes."""

    def look(self, data: bytes, caption: str) -> Looked:
        """Where the model looks as it says a caption of a picture. Raises as `caption` does, and `ModelError` where the
        model cannot tell."""

    def status(self) -> Status: ...

    def close(self) -> None: ...


def model_of(manifest: Mapping, version: int | None) -> Model:
    """By `memefly.json`."""
    # The forms for LiteRT have no knobs, so no seeds either.
    decoding = manifest.get("config", {}).get("decoding", {}) if not is_lite(manifest) else {}
    samples = float(decoding.get("temperature") or 0) > 0
    return Model(version, manifest.get("digest"), samples)


def answered(row: Mapping[str, Any], read: Reader, model: Model) -> Answer:
    """A picture's row of `serving_default` or `decode`, read. Raises as `Backend.caption` does."""
    try:
        captions, scores, error = row["captions"], row["scores"], row["error"]
        told = error.decode("utf-8")
        found = read(captions, scores) if not told else []
    except (KeyError, AttributeError, TypeError, ValueError) as wrong:
        raise BackendError(f"the model's answer is none of a captioner: {type(wrong).__name__}: {wrong}") from None
    if told:
        raise PictureError("not_a_picture", told)
    if not found:
        raise UnsafeError
    return Answer(found, model)
