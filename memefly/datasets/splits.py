"""Which side of a data set a record is on: learnt from (`train`), stopped on (`val`), judged by (`eval`), or left out.

    >>> splitting = Splitting({"train": 8, "val": 1, "eval": 1}, hold_out_groups=("grumpy-cat",))
    >>> for split, record in splitting.of(folder, ("eval",)): ...

A record names its split, or its picture's bytes say it. What is of a group that is held out is for `eval` alone: so a
model is seen on pictures of a kind that it never met, as a meme's template that is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from memefly.datasets.records import Record, RecordError, parse, read_lines
from memefly.errors import DataError

SPLITS = ("train", "val", "eval")
TEST, HELD_OUT = "test", "held out"  # sides that nothing reads: kept for publication, and see `Splitting.named`
_NAMES = {"validation": "val", "valid": "val", "dev": "val"} | {name: name for name in (*SPLITS, TEST)}


def split_named(name: str) -> str | None:
    """The split that others call by a name, such as validation; None where it is none's."""
    return _NAMES.get(name.strip().lower())


def split_of(image_id: str, shares: Mapping[str, float]) -> str:
    """The side of a picture: by the hash of its bytes, so that it is the same in every run and every data set.

    `shares` are relative sizes by split name, such as {"train": 8, "val": 1, "eval": 1}; their order does not matter.
    """
    ordered = {name: shares[name] for name in SPLITS if name in shares}
    position = int(hashlib.sha256(f"split/{image_id}".encode()).hexdigest()[:15], 16) / 16**15
    total, reached = sum(ordered.values()), 0.0
    for name, share in ordered.items():
        reached += share / total
        if position < reached:
            return name
    return next(reversed(ordered))


@dataclass(frozen=True)
class Splitting:
    """How a run parts its data: `shares` as in `split_of`, for pictures of which no record names a split; none where
    they are not known. `hold_out_groups` are for `eval` alone."""

    shares: Mapping[str, float] | None = None
    hold_out_groups: tuple[str, ...] = ()

    @classmethod
    def of_model(cls, config: Mapping) -> Splitting:
        """How the run split that made a model, by the `config` of its `memefly.json`."""
        return cls(config.get("splits"), tuple(config.get("hold_out_groups") or ()))

    def named(self, record: Record) -> str:
        """The side that a record names, or nothing. Of a group that is held out, `eval` where it names none, and
        `HELD_OUT` where it names one to learn from: it was not meant to judge."""
        if record.group not in self.hold_out_groups:
            return record.split
        return HELD_OUT if record.split in ("train", "val") else record.split or "eval"

    def of(self, folder: str | Path, splits: Container[str]) -> Iterator[tuple[str, Record]]:
        """The records of a data set that can be used and belong to `splits`, each with its split. Records and pictures
        that cannot be read are passed over: the pipeline tells of them.

        Raises `DataError` where a record names no split and `shares` are not known.
        """
        for line in read_lines(folder):
            try:
                record = parse(line)
                split = self.named(record)
                if not split:
                    if not self.shares:
                        raise DataError(
                            f"{folder}: line {record.line} names no split, and the model does not say how its run "
                            "split such pictures, so some of these may be what it was trained on; run the pipeline "
                            "again"
                        )
                    digest = hashlib.sha256((Path(folder) / record.image).read_bytes()).hexdigest()
                    split = split_of(digest, self.shares)
            except (RecordError, OSError):
                continue
            if split in splits:
                yield split, record
