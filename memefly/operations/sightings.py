"""Which models saw a picture, or a caption: the other way round from lineage.

    >>> found = seek("root", sought("root", "images/cat.jpg", data="data/mine"))
    >>> [(one.run, one.version, one.part) for one in found.models]
    [('20261127-211825', 1700000000, 'learned from it')]

Examples say what a model was given, by the digest of the picture's file; which model was given which, ML Metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memefly import layout, storage, text
from memefly.datasets import forgotten
from memefly.errors import ModelError, UsageError
from memefly.exported.manifest import read_manifest
from memefly.operations import records, runs
from memefly.provenance import file_digest
from memefly.serving import promotion
from memefly.storage import Place

PICTURE, CAPTION = "picture", "caption"
PARTS = {"train": "learned from it", "val": "was chosen by it", "eval": "was judged on it"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sought:
    kind: str  # picture | caption
    told: str  # as it was asked for
    digest: str  # of the picture's file; of the caption's words
    words: tuple[str, ...] = ()  # of a caption

    def is_said(self, caption: str) -> bool:
        """Whether a caption is the one that is sought, or has the same words."""
        return self.kind == CAPTION and tuple(text.tokenize(caption)) == self.words


@dataclass(frozen=True)
class Model:
    run: str  # that trained it
    split: str  # on which it met what is sought
    part: str  # in words
    version: int | None  # that it became
    labels: tuple[str, ...]  # that are on it now
    digest: str


@dataclass
class Sightings:
    sought: Sought
    models: list[Model] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)  # the pictures' names in their data set
    captions: set[str] = field(default_factory=set)  # the spellings of a caption that is sought
    together: set[frozenset[str]] = field(default_factory=set)  # what a picture that is sought was captioned with
    examples: dict[str, set[str]] = field(default_factory=dict)  # URIs of Examples that have it, and in which splits

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.sought.kind, "digest": self.sought.digest, "sources": sorted(self.sources),
            "models": [asdict(one) for one in self.models],
        }  # fmt: skip


def sought(root: str | Path, what: str, data: str | Place | None = None) -> Sought:
    """What is meant: a picture by its file, its name in the data set or in Examples, or the digest of its file; else a
    caption. Raises `UsageError` where it has neither a file nor a word."""
    places: list[Place] = [Path(what), *([storage.at(data) / what] if data else [])]
    for path in places:
        try:
            if path.is_file():
                return Sought(PICTURE, what, file_digest(path))
        except OSError:  # a caption may be longer than a name can be
            continue
    if _DIGEST.fullmatch(what):
        return Sought(PICTURE, what, what)
    for uri in _examples_of(root):
        for _, feature in _read(root, uri):
            if feature["source"].bytes_list.value[0].decode() == what:
                return Sought(PICTURE, what, feature["image_id"].bytes_list.value[0].decode())
    words = tuple(text.tokenize(what))
    if not words:
        raise UsageError(f"{what!r} is no picture that is known here, and no caption: it has no word in it")
    return Sought(CAPTION, what, forgotten.digest_of(what), words)


def seek(root: str | Path, what: Sought) -> Sightings:
    """Looks through all Examples under ROOT. Raises `UsageError` where ROOT is none."""
    found = Sightings(what)
    for uri in _examples_of(root):
        for split, feature in _read(root, uri):
            captions = [value.decode() for value in feature["captions"].bytes_list.value]
            (image_id,) = (value.decode() for value in feature["image_id"].bytes_list.value)
            said = captions if image_id == what.digest else [one for one in captions if what.is_said(one)]
            if not said or (what.kind == PICTURE and image_id != what.digest):
                continue
            if what.kind == CAPTION:
                found.captions |= {*said}
            else:
                found.together.add(frozenset(said))
            found.sources.add(feature["source"].bytes_list.value[0].decode())
            found.examples.setdefault(uri, set()).add(split)
    found.models = list(_models(root, found.examples))
    return found


def _models(root: str | Path, examples: dict[str, set[str]]) -> Iterator[Model]:
    """Of all that were trained, the oldest first."""
    labels = promotion.labels(root)
    every = list(reversed(runs.read(root)))
    pushed = {one.run_id: one.version for one in every}
    for run in every:
        nodes = records.read(root, run.run_id)
        if "Trainer" not in nodes or nodes["Trainer"].state != "ran" or "CaptionExampleGen" not in nodes:
            continue
        model = records.under(root, nodes["Trainer"].outputs["model"][0]) / "Format-Serving"
        try:
            digest = read_manifest(model).get("digest", "")
        except ModelError:  # cleaned away
            digest = ""
        version = pushed[run.run_id] or _version_of(root, digest)
        on = tuple(sorted(label for label, number in labels.items() if number == version))
        for split in PARTS:
            if split in examples.get(nodes["CaptionExampleGen"].outputs["examples"][0], ()):
                yield Model(run.run_id, split, PARTS[split], version, on, digest)


def _version_of(root: str | Path, digest: str) -> int | None:
    """Of a model that another run pushed: a part of the pipeline trains and another judges."""
    folder = layout.of(root).versions
    for path in sorted(folder.glob("[0-9]*")) if digest and folder.is_dir() else []:
        try:
            if read_manifest(path).get("digest") == digest:
                return int(path.name)
        except (ModelError, ValueError):
            continue
    return None


def _examples_of(root: str | Path) -> list[str]:
    """URIs of all that CaptionExampleGen made and that is there still."""
    found: dict[str, None] = {}
    for run in runs.read(root):
        node = records.read(root, run.run_id).get("CaptionExampleGen")
        for uri in node.outputs.get("examples", ()) if node else ():
            if records.under(root, uri).is_dir():
                found[uri] = None
    return list(found)


def _read(root: str | Path, uri: str) -> Iterator[tuple[str, Any]]:
    from memefly.datasets.examples import read

    for folder in sorted(records.under(root, uri).glob("Split-*")):
        for feature in read(folder):
            yield folder.name.removeprefix("Split-"), feature


def describe(found: Sightings) -> list[str]:
    """For people."""
    of = f"{found.sought.kind} {found.sought.digest[:16]}"
    names = f" ({', '.join([*sorted(found.sources)[:5], *(['…'] if len(found.sources) > 5 else [])])})"
    if not found.examples:
        return [f"{of}: no Examples under this root have it, so no model here was given it"]
    lines_ = [f"{of}{names}"]
    for one in found.models:
        became = f"version {one.version}" if one.version else "was not pushed"
        on = f", {', '.join(one.labels)}" if one.labels else ""
        lines_.append(f"  the model of run {one.run} {one.part} ({one.split}); {became}{on}")
    if not found.models:
        lines_.append("  no model was trained on Examples that have it")
    return lines_
