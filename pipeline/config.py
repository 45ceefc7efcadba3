"""The configuration of a pipeline: typed, frozen, validated when it is built.

    >>> config = load(preset="demo", overrides=["training.max_steps=200", "gate.floors.bleu4=0.1"])

A YAML file holds the same sections, and only what differs from the defaults. It may start from a preset with a line
`preset: demo`. Presets are the files in `pipeline/presets/`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.caption_metrics.names import DISTANCES, LOWER_IS_BETTER, PLAIN, SCORES, SLICES
from memefly import images, metadata_store, storage, textfile
from memefly.cleaning import Cleaning
from memefly.cleaning.config import DEFAULT, KINDS
from memefly.decoding_config import DecodingConfig
from memefly.devices import DevicesConfig
from memefly.encoders import EncoderConfig
from memefly.errors import ConfigError, in_our_words
from memefly.metrics import sentences
from memefly.networks import NetworkConfig
from memefly.report.card import CardConfig
from memefly.safety import SafetyConfig
from memefly.schemas import SCHEMAS
from memefly.spelling import Spelling
from memefly.training import TrainingConfig

PRESETS = Path(__file__).parent / "presets"
# Of `gate`, where nothing else is said. A constant caption, one of another picture, words in disorder, half a sentence
# and a caption out of the training data all fail one of them (tests/components/test_cheats.py).
GATE: dict[str, dict[str, float]] = {
    "floors": {"bleu4": 0.05, "bleu4_gain": 0.01, "cider_gain": 0.05, "distinct_share": 0.05, "valid_share": 0.5},
    "ceilings": {"copied_share": 0.8},
    "regressions": {"bleu4": 0.005, "cider": 0.01},
    "improvements": {},
}
if TYPE_CHECKING:  # a checker of types cannot read what is listed elsewhere; pydantic can
    Metric = str
    Score = str
    Floored = str
    Slice = str
else:
    Metric = Literal[SCORES + PLAIN]
    Score = Literal[SCORES]
    Floored = Literal[tuple(score for score in SCORES if score not in LOWER_IS_BETTER)]
    Slice = Literal[SLICES]
# Of Beam's arguments: those whose value is for the engine alone.
SECRET = re.compile(r"(?is)^(--[^=]*(?:key|secret|password|passwd|token|credential)[^=]*=).+")
_SAID = re.compile(  # the same, in a message
    r"(?i)(--[^='\" ]*(?:key|secret|password|passwd|token|credential)[^='\" ]*=)[^'\",]+"
)
_IN_URL = re.compile(r"(://[^:/@'\" ]*):[^@/'\" ]+@")  # a password before a host
DEFAULT_SCHEMA = SCHEMAS / "captions.pbtxt"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitShares(_Section):
    """Relative sizes, for pictures whose split the data set does not name."""

    train: float = Field(8, gt=0)
    val: float = Field(1, gt=0)
    eval: float = Field(1, gt=0)


class Thresholds(_Section):
    """Of the Jensen-Shannon divergence (0 to 1) above which a difference is an anomaly; null: it is not looked at."""

    caption_words: float | None = Field(0.1, ge=0, le=1, description="words a caption")
    words: float | None = Field(0.3, ge=0, le=1, description="which words are said how often")
    group: float | None = Field(0.3, ge=0, le=1)
    width: float | None = Field(0.3, ge=0, le=1, description="of pictures")
    height: float | None = Field(0.3, ge=0, le=1)


class DataConfig(_Section):
    splits: SplitShares = SplitShares()
    hold_out_groups: tuple[str, ...] = Field(
        (), description="groups, such as a meme's template, that are never trained or stopped on: for eval alone"
    )
    max_pixels: int = Field(images.MAX_PIXELS, ge=1, description="pictures above it are quarantined, not decoded")
    max_quarantined: float = Field(0.1, ge=0, le=1, description="share of bad records that stops a run")
    cleaning: Cleaning = Field(
        Cleaning.model_validate(DEFAULT),
        description="steps over captions, in order; memefly/cleaning/config.py has all",
    )
    drift: Thresholds = Field(Thresholds(), description="of train, to what the last blessed model was trained on")
    skew: Thresholds = Field(Thresholds(), description="of train, to eval")
    drift_stops: bool = Field(False, description="whether such an anomaly stops the run, or is only told of")
    schema_file: str = Field(str(DEFAULT_SCHEMA), alias="schema", description="tf.metadata schema of the Examples")


class TextConfig(Spelling, _Section):
    max_length: int = Field(26, ge=3, description="tokens of a caption, <s> and </s> counted; the rest is cut")
    min_count: int = Field(2, ge=1, description="occurrences in train that make a word")
    max_words: int = Field(0, ge=0, description="size of the vocabulary at most; 0: no limit")
    subwords: int = Field(
        0, ge=0, description="words are cut into so many pieces, and none is unknown (1508.07909); 0: whole words"
    )

    @model_validator(mode="after")
    def _room_for_characters(self) -> TextConfig:
        if 0 < self.subwords < 200:
            raise ValueError(f"subwords is {self.subwords}; 200 at least hold the letters, or 0 for whole words")
        if self.subwords and self.max_words:
            raise ValueError(f"max_words is {self.max_words}, but subwords = {self.subwords} says how many there are")
        return self


def _without_none(rules: dict) -> dict:
    return {name: bound for name, bound in rules.items() if bound is not None}


class SliceRules(_Section):
    """Hold on every slice that is large enough, each judged by its 99.9 % interval: many slices are many chances."""

    floors: dict[Floored, float] = Field({}, description="the value may well be at least this")
    regressions: dict[Score, float] = Field({}, description="not surely worse than the live model's by more than this")

    @model_validator(mode="before")
    @classmethod
    def _null_takes_away(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {kind: _without_none(rules) if isinstance(rules, dict) else rules for kind, rules in given.items()}


class GateConfig(_Section):
    """A model is blessed if all of these rules hold on the eval split. A rule that is given replaces the one of that
    name and leaves the others; null takes it away. `components.caption_metrics.captions` says what the metrics are."""

    floors: dict[Metric, float] = Field({}, description="the value is at least this")
    ceilings: dict[Metric, float] = Field({}, description="the value is at most this")
    regressions: dict[Score, float] = Field(
        {}, description="not worse than the live model's by more than this, unless chance alone shows as much (95 %)"
    )
    improvements: dict[Score, float] = Field(
        {}, description="better than the live model's by at least this, and by more than chance alone shows (95 %)"
    )
    slices: dict[Slice, SliceRules] = Field({}, description="by what the pictures are parted")
    min_pictures: int = Field(10, ge=2, description="a slice of fewer is shown, but not judged")

    def metrics(self) -> set[str]:
        """All that a rule asks for."""
        of_slices = (rules for by in self.slices.values() for rules in (by.floors, by.regressions))
        return set().union(self.floors, self.ceilings, self.regressions, self.improvements, *of_slices)

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        merged = dict(given)
        for kind, defaults in GATE.items():
            if isinstance(rules := given.get(kind, {}), dict):
                merged[kind] = _without_none({**defaults, **rules})
        return merged

    @model_validator(mode="after")
    def _can_tell_distances(self) -> GateConfig:
        asked = sorted(self.metrics() & set(DISTANCES))
        if asked and importlib.util.find_spec(sentences.PACKAGE) is None:
            raise ValueError(
                f"{', '.join(asked)} need a sentence encoder, and {sentences.PACKAGE} is not installed; pip install "
                "'memefly[sentences]', or take the rule away"
            )
        return self

    @model_validator(mode="after")
    def _judges_the_first_model(self) -> GateConfig:
        if not self.floors and not self.ceilings:
            raise ValueError("one floor or ceiling must be left: a first model has no live model to be judged by")
        return self


class ServingConfig(_Section):
    pictures: int = Field(8, ge=1, description="eval pictures that ServingValidator queries the model with")
    timeout: int = Field(300, ge=1, description="seconds it may take")


class ReportConfig(_Section):
    pictures: int = Field(60, ge=1, description="eval pictures shown")


class TrackingConfig(_Section):
    pictures: int = Field(50, ge=2, description="rows at most of W&B's tables of raw pictures and of the projection")
    captions: int = Field(200, ge=1, description="rows at most of its table of processed captions")
    groups: int = Field(30, ge=2, description="templates at most that its confusion tells apart, the commonest")
    models: bool = Field(True, description="whether W&B gets each model's files; its digest alone, if false")


class WorkersConfig(_Section):
    """Of `training.strategy=multi_worker`."""

    wait_seconds: float = Field(
        600.0, gt=0, description="how long each waits for the others: to come, and to come back when one was lost"
    )


class StorageConfig(_Section):
    """What of ROOT lies elsewhere: folders as absolute paths, or in a store that TensorFlow speaks, such as
    gs://bucket/folder; empty: in ROOT. No part of any cache key."""

    artifacts: str = Field("", description="what components make")
    features: str = Field("", description="what encoders make of pictures, which several ROOTs may share")
    versions: str = Field("", description="where models are pushed to, and TensorFlow Serving finds them")
    metadata: str = Field(
        "", description="ML Metadata's database, mysql://USER@HOST:PORT/DATABASE; empty: SQLite in ROOT"
    )

    @field_validator("artifacts", "features", "versions")
    @classmethod
    def _is_absolute(cls, place: str) -> str:
        if place and not storage.is_remote(place) and not Path(place).is_absolute():
            raise ValueError("expected an absolute path, or a folder in a store such as gs://bucket/folder")
        return place

    @field_validator("metadata")
    @classmethod
    def _names_a_server(cls, url: str) -> str:
        if url:
            try:
                metadata_store.parsed(url)
            except ConfigError as error:
                raise ValueError(str(error).removeprefix("storage.metadata: ")) from None
        return url


class PipelineConfig(_Section):
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    encoder: EncoderConfig = EncoderConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    decoding: DecodingConfig = DecodingConfig()
    safety: SafetyConfig = SafetyConfig()
    gate: GateConfig = GateConfig.model_validate({})
    serving: ServingConfig = ServingConfig()
    report: ReportConfig = ReportConfig()
    tracking: TrackingConfig = TrackingConfig()
    card: CardConfig = CardConfig()
    devices: DevicesConfig = DevicesConfig()
    workers: WorkersConfig = WorkersConfig()
    storage: StorageConfig = StorageConfig()
    beam: tuple[str, ...] = Field(
        # By its name: later Beams' DirectRunner looks for Prism first, and would download it.
        ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner", "--direct_running_mode=in_memory"),
        description="Apache Beam's pipeline arguments: runner, workers, where temporary files go",
    )

    @model_validator(mode="after")
    def _mirrors_are_there(self) -> PipelineConfig:
        if self.training.flip and not self.encoder.flip:
            raise ValueError(
                f"training.flip is {self.training.flip}, but no mirrored pictures are encoded; set encoder.flip=true"
            )
        return self

    @model_validator(mode="after")
    def _knows_what_is_said_of_no_picture(self) -> PipelineConfig:
        if self.decoding.mmi and not self.training.without_picture:
            raise ValueError(
                f"decoding.mmi is {self.decoding.mmi:g}, which asks how likely a caption is without its picture, and "
                "training.without_picture is 0, so the network never learns that; set it to 0.1, say"
            )
        return self

    @model_validator(mode="after")
    def _lengths_agree(self) -> PipelineConfig:
        if self.decoding.max_length > self.text.max_length:
            raise ValueError(
                f"decoding.max_length is {self.decoding.max_length}, but no caption longer than text.max_length = "
                f"{self.text.max_length} is trained on; lower the one or raise the other"
            )
        return self

    def told(self) -> dict[str, Any]:
        """As JSON for what others may read, such as a run's summary: of the words that are blocked their digest, which
        tells whether they changed, and of what engines are given as a key, a secret, a password or a token nothing."""
        told = self.model_dump(mode="json", by_alias=True)
        if words := told["safety"]["block"]:
            told["safety"]["block"] = hashlib.sha256("\n".join(words).encode()).hexdigest()
        told["beam"] = [_IN_URL.sub(r"\1:(not told)@", SECRET.sub(r"\1(not told)", one)) for one in told["beam"]]
        return told


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(source: str | None = None, overrides: Sequence[str] = ()) -> PipelineConfig:
    """A configuration from a preset's name or a YAML file, with `section.key=value` overrides on top.

    Raises `ConfigError` that names the key, what was expected and what came.
    """
    values: dict[str, Any] = {}
    if source:
        path = PRESETS / f"{source}.yaml" if source in presets() else Path(source)
        values = _read(path, source)
        if "preset" in values:
            values = _merge(_read(PRESETS / f"{values['preset']}.yaml", values.pop("preset")), values)
    for override in overrides:
        values = _merge(values, _parse_override(override))
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors())
        raise ConfigError(f"the configuration is not valid: {problems}") from None


def _read(path: Path, source: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(textfile.read(path, ConfigError)) or {}
    except OSError:
        raise ConfigError(
            f"no configuration {source!r}: neither a YAML file nor one of the presets {', '.join(presets())}"
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: dates and numbers that cannot be
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as `training:`, got {type(values).__name__}")
    return values


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes section.key=value, such as training.epochs=5; got {override!r}")
    try:
        nested: Any = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from None
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return nested


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _explain(problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section: Any = PipelineConfig
        for part in problem["loc"][:-1]:
            if section is Cleaning:  # a list of steps: the place, then the name of the step
                section = KINDS.get(part, Cleaning)
                continue
            # A section's key, or one of a mapping to sections, such as gate.slices.
            section = (
                section.model_fields[part].annotation if hasattr(section, "model_fields") else get_args(section)[1]
            )
        known = ", ".join(field.alias or name for name, field in section.model_fields.items())
        return f"{where} is no key; known are {known}"
    if not where:
        return in_our_words(problem)
    said = _IN_URL.sub(r"\1:(not told)@", _SAID.sub(r"\1(not told)", repr(problem["input"])))
    return f"{where}: {in_our_words(problem)}, got {said}"
