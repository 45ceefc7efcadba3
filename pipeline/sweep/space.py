"""What a sweep searches: a space of hyper-parameters, and what each trial of it tries.

    >>> space = load("space.yaml")
    >>> space.trial(1)
    {'training.learning_rate': 0.0019, 'network.units': 128}

A space is a YAML file in the format of W&B's sweeps (docs.wandb.ai/models/sweeps/sweep-config-keys), so that one file
serves both searches, ours and W&B's. `seed` and `trials` are ours:

    method: random                                      # or grid; bayes is W&B's
    metric: {name: val/cider, goal: maximize}
    trials: 12
    parameters:
      training.learning_rate: {min: 0.0003, max: 0.003, distribution: log_uniform_values}
      network.units: {values: [128, 256]}

What a trial tries follows from the space, its seed and the trial's number, and from nothing else.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)  # fmt: skip

from memefly import metrics, textfile
from memefly.errors import ConfigError, in_our_words
from pipeline.config import PipelineConfig

_SEARCHED = ("network", "training")  # sections that a trial's metrics depend on, and no node before the Trainer
_FIXED = "decoding"  # the Trainer hands it to the exported model; it decodes val greedily whatever it says


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-4, without a point, for a word."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value) else value


_Value = Annotated[Any, BeforeValidator(_number)]
_Bound = Annotated[int | float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metric(_Part):
    """What makes a trial the best: a metric on `val`, called cider, val_cider or val/cider."""

    name: str = "cider"
    goal: Literal["maximize", "minimize"] = "maximize"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        plain, known = re.sub("^val[/_]", "", name), list(metrics.score([["a"]], ["a"]))
        if plain not in known:
            raise ValueError(f"no such metric; known are {', '.join(known)}, with or without val/ before them")
        return plain


class Parameter(_Part):
    """One value, several, or a range from which a distribution draws."""

    value: _Value = None
    values: tuple[_Value, ...] = Field((), min_length=1)
    probabilities: tuple[float, ...] = Field((), description="of values")
    min: _Bound = 0
    max: _Bound = 0
    q: _Bound = Field(1, gt=0, description="what a q_ distribution gives multiples of")
    distribution: (
        Literal[
            "constant", "categorical", "uniform", "int_uniform", "q_uniform", "log_uniform", "log_uniform_values",
            "q_log_uniform_values",
        ]
        | None
    ) = None  # fmt: skip

    @property
    def kind(self) -> str:
        """The distribution, W&B's own where the file names none."""
        if not self.is_range:
            return "categorical" if self.values else "constant"
        whole = isinstance(self.min, int) and isinstance(self.max, int)
        return self.distribution or ("int_uniform" if whole else "uniform")

    @property
    def is_range(self) -> bool:
        return "min" in self.model_fields_set

    @model_validator(mode="after")
    def _makes_sense(self) -> Parameter:
        given = self.model_fields_set
        shape = given & {"value", "values", "min", "max"}
        if shape not in ({"value"}, {"values"}, {"min", "max"}):
            raise ValueError(
                f"expected `value`, `values`, or `min` and `max`; got {', '.join(sorted(given)) or 'none'}"
            )
        if self.distribution not in (None, self.kind):
            raise ValueError(f"{self.distribution} does not go with {' and '.join(sorted(shape))}")
        if self.distribution in ("constant", "categorical") and self.is_range:
            raise ValueError(f"{self.distribution} does not go with min and max")
        if "probabilities" in given and len(self.probabilities) != len(self.values):
            raise ValueError(f"{len(self.values)} values, but {len(self.probabilities)} probabilities")
        if self.is_range and self.min > self.max:
            raise ValueError(f"min is {self.min}, above max, {self.max}")
        if self.kind == "int_uniform" and not (isinstance(self.min, int) and isinstance(self.max, int)):
            raise ValueError(f"int_uniform needs whole bounds, got {self.min} and {self.max}")
        if self.kind.endswith("log_uniform_values") and self.min <= 0:
            raise ValueError(f"{self.kind} needs bounds above 0, got {self.min}")
        if self.kind.startswith("q_") and math.ceil(self.min / self.q) > math.floor(self.max / self.q):
            raise ValueError(f"no multiple of q = {self.q} lies between {self.min} and {self.max}")
        return self

    def listed(self) -> list[Any] | None:
        """All values in order, where they can be told."""
        if not self.is_range:
            return self._said()
        if self.kind != "int_uniform":
            return None
        low, high = self._whole_bounds()
        return list(range(low, high + 1))

    def _said(self) -> list[Any]:
        """The values of what is no range."""
        return list(self.values) or [self.value]

    def _whole_bounds(self) -> tuple[int, int]:
        assert isinstance(self.min, int) and isinstance(self.max, int)  # `_makes_sense` has seen to it
        return self.min, self.max

    def bounds(self) -> tuple[float, float]:
        """Of what is drawn. Those of log_uniform are exponents in the file."""
        return (math.exp(self.min), math.exp(self.max)) if self.kind == "log_uniform" else (self.min, self.max)

    def examples(self) -> list[Any]:
        """Values that stand for all: if these may be, the others may."""
        return [*self.bounds(), self.draw(random.Random(0))] if self.is_range else self._said()

    def draw(self, source: random.Random) -> Any:
        if not self.is_range:
            return source.choices(self.values, self.probabilities or None)[0] if self.values else self.value
        if self.kind == "int_uniform":
            return source.randint(*self._whole_bounds())
        low, high = self.bounds()
        if "log_uniform" in self.kind:
            drawn = math.exp(source.uniform(math.log(low), math.log(high)))
        else:
            drawn = source.uniform(low, high)
        if self.kind.startswith("q_"):
            steps = min(max(round(drawn / self.q), math.ceil(low / self.q)), math.floor(high / self.q))
            return steps * self.q if isinstance(self.q, int) else round(steps * self.q, 12)
        return min(max(drawn, low), high)


class Space(_Part):
    """What is searched, how, and for what."""

    method: Literal["grid", "random", "bayes"]
    metric: Metric = Metric()
    parameters: dict[str, Parameter] = Field(min_length=1)
    seed: int = Field(0, description="of random trials; ours, W&B has none")
    trials: int | None = Field(None, ge=1, validation_alias=AliasChoices("trials", "run_cap"))
    name: str | None = Field(None, description="what W&B's pages call it")
    description: str | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Space:
        for key, parameter in self.parameters.items():
            _check_key(key, parameter)
            if self.method == "grid" and parameter.listed() is None:
                raise ValueError(
                    f"{key}: a grid needs `value`, `values` or whole bounds, {parameter.kind} has no end of values; "
                    "list some, or take method random"
                )
        return self

    @property
    def size(self) -> int | None:
        """How many trials there are to make at most; None: no end."""
        return math.prod(map(len, self._axes())) if self.method == "grid" else None

    def _axes(self) -> list[list[Any]]:
        """Of a grid: the values of every parameter."""
        axes = []
        for parameter in self.parameters.values():
            values = parameter.listed()
            assert values is not None  # `_agrees` has seen to it
            axes.append(values)
        return axes

    def trial(self, number: int) -> dict[str, Any]:
        """What trial `number`, from 1, tries."""
        if self.method == "grid":
            values = next(itertools.islice(itertools.product(*self._axes()), number - 1, None))
            return dict(zip(self.parameters, values))
        source = random.Random(f"{self.seed}/{number}")
        return {key: parameter.draw(source) for key, parameter in self.parameters.items()}

    def for_wandb(self) -> dict[str, Any]:
        """The same as W&B takes it. Its metric is what the Trainer logs after each epoch."""
        said = self.model_dump(mode="json", exclude_unset=True, exclude={"seed", "trials", "metric"})
        return said | {"metric": {"name": f"val_{self.metric.name}", "goal": self.metric.goal}}


def load(path: str | Path) -> Space:
    """A search space from a YAML file. Raises `ConfigError` that says what was expected and what came."""
    try:
        said = yaml.safe_load(textfile.read(path, ConfigError))
    except OSError as error:
        raise ConfigError(f"cannot read the search space {path} ({error.strerror})") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: dates and numbers that cannot be
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise ConfigError(f"{path}: expected keys method, metric and parameters, got {type(said).__name__}")
    try:
        return Space.model_validate(said)
    except ValidationError as error:
        raise ConfigError(f"{path} is no search space: {'; '.join(map(_explain, error.errors()))}") from None


def _explain(problem: Mapping[str, Any]) -> str:
    where, came = ".".join(map(str, problem["loc"])), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"{where} is no key of a search space here"
    said = in_our_words(problem)
    return f"{where}: {said}" + ("" if isinstance(came, dict) else f", got {came!r}") if where else said


def _check_key(key: str, parameter: Parameter) -> None:
    """Raises ValueError where no trial can try what the parameter says."""
    adapter = _adapter(key)
    section = key.partition(".")[0]
    if section == _FIXED and len(parameter.listed() or (0, 0)) > 1:
        raise ValueError(
            f"{key} does not change what a trial is measured by: while training, val is decoded greedily. "
            f"Search {' and '.join(_SEARCHED)}, and give {key} one `value`"
        )
    if section not in (*_SEARCHED, _FIXED):
        raise ValueError(
            f"{key}: trials begin at the Trainer, so only keys of {', '.join(_SEARCHED)} can be searched, and "
            f"{section} is read by other nodes. Set it for a whole sweep, --set {key}=VALUE, and make one sweep a value"
        )
    for value in parameter.examples():
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            hint = f"; {parameter.kind} draws such" if parameter.is_range else ""
            raise ValueError(f"{key}: {in_our_words(error.errors()[0])}, got {value!r}{hint}") from None


def _adapter(key: str) -> TypeAdapter:
    """What checks a value of a key of the configuration. Raises ValueError where there is no such key."""
    kind: Any = PipelineConfig
    for part in key.split("."):
        fields = getattr(kind, "model_fields", {})
        fields = {known.alias or name: known for name, known in fields.items()}
        if part not in fields:
            raise ValueError(f"{key} is no key of the configuration; known are {', '.join(fields) or 'none so deep'}")
        found, kind = fields[part], fields[part].annotation
    checked: Any = Annotated[found.annotation, found]
    is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
    return TypeAdapter(checked, config=None if is_section else ConfigDict(allow_inf_nan=False))
