"""CaptionExampleGen: the contract.

example_gen = CaptionExampleGen(data, shares={"train": 8, "val": 1, "eval": 1})
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact, channel, component_spec, standard_artifacts

from components.caption_example_gen import executor
from memefly import images
from memefly.cleaning import Cleaning
from memefly.datasets import records
from memefly.provenance import code_digest, versions

# What cleaning says with other versions of them may be something else.
_LIBRARIES = ("ftfy", "py3langid", "datasketch", "ImageHash", "phonenumbers", "confusable-homoglyphs")


class Quarantine(artifact.Artifact):
    """A folder with `quarantine.jsonl` (what was left out and why, a line each) and `summary.json` (counts)."""

    TYPE_NAME = "memefly.Quarantine"  # Kubeflow wants a dot


class CaptionExampleGenSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "data": component_spec.ExecutionParameter(type=str),
        # What the data set holds, captions and pictures: the cache is keyed by it.
        "fingerprint": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),  # a digest of the sources, for the cache too
        "shares": component_spec.ExecutionParameter(type=str),
        "hold_out_groups": component_spec.ExecutionParameter(type=str),
        "max_pixels": component_spec.ExecutionParameter(type=int),
        "max_quarantined": component_spec.ExecutionParameter(type=float),
        "cleaning": component_spec.ExecutionParameter(type=str),
        "root": component_spec.ExecutionParameter(type=str),  # where `forgotten.jsonl` may be
        "forgotten": component_spec.ExecutionParameter(type=str),  # a digest of it, for the cache
    }
    INPUTS: dict = {}
    OUTPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
    }


class CaptionExampleGen(base_beam_component.BaseBeamComponent):
    """Reads a canonical data set and writes one Example a picture, in the splits train, val and eval."""

    SPEC_CLASS = CaptionExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        data: str,
        shares: Mapping[str, float],
        hold_out_groups: Sequence[str] = (),
        max_pixels: int = images.MAX_PIXELS,
        max_quarantined: float = 0.1,
        cleaning: Cleaning | None = None,
        fingerprint: str | None = None,
        root: str = "",
        forgotten: str = "",
    ):
        """`shares` are relative sizes of the splits, for pictures whose split the data set does not name;
        `hold_out_groups` are for eval alone; more than the share `max_quarantined` of bad records fails the component;
        `cleaning` is what is done to captions.
        `fingerprint` changes with what the data set holds; it is to be given where `data` is a name that cannot be read
        yet. What is forgotten in `root` is left out, whoever brings it; `forgotten` changes with that."""
        super().__init__(
            CaptionExampleGenSpec(
                data=data,
                fingerprint=records.fingerprint(data) if fingerprint is None else fingerprint,
                code=" ".join(
                    [
                        code_digest(
                            *("components/caption_example_gen", "memefly/cleaning", "memefly/safety"),
                            *("memefly/datasets/records.py", "memefly/datasets/splits.py", "memefly/images.py"),
                            "memefly/datasets/forgotten.py",
                            "memefly/schemas/dataset.schema.json",
                        ),
                        *(f"{name} {version}" for name, version in versions(*_LIBRARIES).items()),
                    ]
                ),
                shares=json.dumps(dict(shares)),
                hold_out_groups=json.dumps(sorted(hold_out_groups)),
                max_pixels=max_pixels,
                max_quarantined=max_quarantined,
                cleaning=(cleaning or Cleaning(())).model_dump_json(),
                root=root,
                forgotten=forgotten,
                examples=channel.Channel(type=standard_artifacts.Examples),
                quarantine=channel.Channel(type=Quarantine),
            )
        )
