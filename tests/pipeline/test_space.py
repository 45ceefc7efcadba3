"""The search without the pipeline: a runner that costs nothing stands in its place, and so does W&B."""

import contextlib
import json
import os
import random
import sys
import threading
import types
from pathlib import Path

import pytest
import yaml
from wandb_server import WandbServer

from memefly.errors import ConfigError, MemeflyError, TrainingError, UsageError
from pipeline import config, sweep
from pipeline.sweep import search as searching
from pipeline.sweep.space import Parameter

GRID = """\
method: grid
metric: {name: val/cider, goal: maximize}
parameters:
  training.learning_rate: {values: [1e-3, 0.01]}
  network.units: {min: 16, max: 18}
"""
RANDOM = """\
method: random
seed: 3
parameters:
  training.learning_rate: {min: 1e-4, max: 1e-2, distribution: log_uniform_values}
  network.units: {min: 32, max: 128, q: 32, distribution: q_uniform}
  network.cell: {values: [gru, lstm]}
"""


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return path

    return write


class Runner:
    """CIDEr is the number of units; a learning rate of 0.5 fails."""

    def __init__(self, transformed="transform/1"):
        self.transformed, self.trained_on, self.prepared, self.trained = transformed, transformed, 0, []

    def prepare(self, config, on_event):
        self.prepared += 1
        return self.transformed

    def train(self, config, on_event):
        on_event("start", {"run_id": f"run-{len(self.trained) + 1}"})
        self.trained.append(config)
        if config.training.learning_rate == 0.5:
            error, wrapped = TrainingError("the loss is nan"), RuntimeError("Trainer")
            wrapped.__cause__ = error
            raise error from wrapped  # a circle of causes, as the local runner makes it
        return {"cider": float(config.network.units), "bleu4": 0.1, "stage": "cross_entropy"}, self.trained_on


@pytest.fixture
def search(write, tmp_path):
    """Makes a sweep of a space's text; returns its outcome and its runner."""

    def search(text, runner=None, **arguments):
        runner = runner or Runner()
        arguments = {"source": "tiny", "data": "data", "root": str(tmp_path / "root")} | arguments
        return sweep.Sweep(write(text), runner=runner, **arguments).run(), runner

    return search


# --- the space ---


def test_a_grid_goes_through_the_product_in_the_file_s_order(write):
    space = sweep.load(write(GRID))
    assert space.size == 6
    assert [tuple(space.trial(n).values()) for n in range(1, 7)] == [
        (0.001, 16), (0.001, 17), (0.001, 18), (0.01, 16), (0.01, 17), (0.01, 18)
    ]  # fmt: skip
    assert list(space.trial(1)) == ["training.learning_rate", "network.units"]


def test_a_random_trial_follows_from_the_space_the_seed_and_its_number(write):
    space, again = sweep.load(write(RANDOM)), sweep.load(write(RANDOM))
    assert space.size is None
    assert [space.trial(n) for n in (3, 1, 2)] == [again.trial(n) for n in (3, 1, 2)]
    assert space.trial(1) != space.trial(2)
    assert sweep.load(write(RANDOM.replace("seed: 3", "seed: 4"))).trial(1) != space.trial(1)


@pytest.mark.parametrize(
    ("said", "low", "high", "fits"),
    [
        ({"min": 2, "max": 5}, 2, 5, lambda v: isinstance(v, int)),
        ({"min": 0.25, "max": 0.75}, 0.25, 0.75, lambda v: isinstance(v, float)),
        ({"min": 1, "max": 5, "distribution": "uniform"}, 1, 5, lambda v: isinstance(v, float)),
        ({"min": "1e-5", "max": "1e-1", "distribution": "log_uniform_values"}, 1e-5, 0.1, lambda v: True),
        ({"min": -7, "max": -3, "distribution": "log_uniform"}, 0.000911, 0.0498, lambda v: True),
        ({"min": 0.05, "max": 0.55, "q": 0.1, "distribution": "q_uniform"}, 0.1, 0.5, lambda v: round(v, 1) == v),
        ({"min": 30, "max": 100, "q": 32, "distribution": "q_uniform"}, 32, 96, lambda v: v in (32, 64, 96)),
        ({"min": 3, "max": 999, "q": 2, "distribution": "q_log_uniform_values"}, 4, 998, lambda v: v % 2 == 0),
        ({"values": [1, "b"], "probabilities": [0.5, 0.5]}, None, None, lambda v: v in (1, "b")),
        ({"value": None}, None, None, lambda v: v is None),
    ],
)
def test_distributions_stay_within_their_bounds(said, low, high, fits):
    parameter, source = Parameter.model_validate(said), random.Random(0)
    drawn = [parameter.draw(source) for _ in range(500)]
    assert all(map(fits, drawn))
    if low is not None:
        assert low <= min(drawn) and max(drawn) <= high
        assert min(drawn) <= low + (high - low) / 4 and max(drawn) >= low + (high - low) / 2, "and reach over them"


def test_probabilities_count():
    parameter = Parameter(values=["often", "never"], probabilities=[1, 0])
    assert {parameter.draw(random.Random(n)) for n in range(50)} == {"often"}


@pytest.mark.parametrize("name", ["cider", "val_cider", "val/cider"])
def test_names_of_a_metric(write, name):
    space = sweep.load(write(GRID.replace("val/cider", name)))
    assert (space.metric.name, space.for_wandb()["metric"]) == ("cider", {"name": "val_cider", "goal": "maximize"})


def test_wandb_gets_the_space_without_what_is_ours(write):
    said = sweep.load(write(RANDOM)).for_wandb()
    assert list(said["parameters"]) == ["training.learning_rate", "network.units", "network.cell"]
    assert said["parameters"]["training.learning_rate"] == {
        "min": 0.0001, "max": 0.01, "distribution": "log_uniform_values"
    }  # fmt: skip
    assert set(said) == {"method", "metric", "parameters"} and said["method"] == "random"


def space_of(key: str, said: str, method: str = "random") -> str:
    return f"method: {method}\nparameters: {{{key}: {said}}}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (space_of("training.learningrate", "{value: 1}"), "training.learningrate is no key .* known are epochs, max_s"),
        (space_of("trainings.epochs", "{value: 1}"), "trainings.epochs is no key .* known are data, text"),
        (space_of("training.epochs.more", "{value: 1}"), "training.epochs.more is no key"),
        (space_of("text.min_count", "{values: [1, 2]}"), r"begin at the Trainer.*--set text\.min_count=VALUE"),
        (space_of("encoder.weights", "{values: [a, b]}"), "encoder is read by other nodes"),
        (space_of("decoding.beam", "{values: [1, 3]}"), "does not change what a trial is measured by"),
        (space_of("training.epochs", "{values: [1, none]}"), "training.epochs: .*valid integer.*got 'none'"),
        (space_of("training.epochs", "{min: 0, max: 3}"), "training.epochs: .*greater than or equal to 1, got 0"),
        (space_of("training.epochs", "{min: 1.0, max: 3.5}"), "fractional part.*uniform draws such"),
        (space_of("training.epochs", "3"), "parameters.training.epochs: .*got 3"),
        (space_of("training.epochs", "{min: 1}"), "expected `value`, `values`, or `min` and `max`; got min"),
        (space_of("training.epochs", "{min: 3, max: 2}"), "min is 3, above max, 2"),
        (space_of("training.epochs", "{values: []}"), "at least 1 item"),
        (space_of("training.epochs", "{min: 1, max: 2, distribution: normal}"), "'int_uniform'.*got 'normal'"),
        (space_of("training.epochs", "{values: [1], distribution: uniform}"), "uniform does not go with values"),
        (space_of("training.epochs", "{values: [1, 2], probabilities: [1]}"), "2 values, but 1 probabilities"),
        (space_of("training.clip_norm", "{min: 0, max: 2, distribution: log_uniform_values}"), "bounds above 0, got 0"),
        (space_of("training.epochs", "{min: 5, max: 6, q: 4, distribution: q_uniform}"), "no multiple of q = 4"),
        (space_of("training.warmup", "{min: 0.1, max: 0.2}", "grid"), "a grid needs `value`, `values` or whole bounds"),
        (GRID.replace("val/cider", "loss"), "no such metric; known are bleu1.*got 'loss'"),
        (GRID.replace("grid", "hyperband"), "method: .*'grid', 'random' or 'bayes', got 'hyperband'"),
        (GRID + "early_terminate: {type: hyperband}", "early_terminate is no key of a search space here"),
        ("method: grid", "parameters: Field required"),
        ("- method", "expected keys method, metric and parameters, got list"),
        ("a: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(write, text, says):
    with pytest.raises(ConfigError, match=says):
        sweep.load(write(text))


def test_a_space_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the search space .*none\.yaml \(No such file"):
        sweep.load(tmp_path / "none.yaml")


def test_decoding_may_be_fixed(write):
    assert sweep.load(write(space_of("decoding.beam", "{value: 1}"))).trial(1) == {"decoding.beam": 1}


# --- the search ---


def test_a_sweep_leaves_its_trials_and_the_best(search, tmp_path):
    outcome, runner = search(GRID, overrides=["training.epochs=2", "encoder.weights=/e.h5"], name="first")
    assert runner.prepared == 1 and len(runner.trained) == 6
    assert {c.training.epochs for c in runner.trained} == {2}
    assert (outcome.best.number, outcome.best.metrics["cider"]) == (3, 18.0), "of equals the earlier"
    folder = tmp_path / "root" / "sweeps" / "first"
    assert outcome.folder == folder and (folder / "space.yaml").read_text() == GRID
    assert [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()][1] == {
        "number": 2, "parameters": {"training.learning_rate": 0.001, "network.units": 17}, "state": "ok",
        "metrics": {"cider": 17.0, "bleu4": 0.1, "stage": "cross_entropy"}, "seconds": pytest.approx(0, abs=60),
        "run_id": "run-2", "error": None,
    }  # fmt: skip
    assert config.load(str(outcome.best_file)) == runner.trained[2]
    assert yaml.safe_load(outcome.best_file.read_text()) == {
        "preset": "tiny", "encoder": {"weights": "/e.h5"}, "network": {"units": 18},
        "training": {"epochs": 2, "learning_rate": 0.001},
    }  # fmt: skip
    assert "6 of 6 trials made" in sweep.describe(outcome)[0]
    assert outcome.as_dict()["best"]["number"] == 3 and len(outcome.as_dict()["trials"]) == 6


def test_the_best_of_a_configuration_file_starts_from_its_preset(search, tmp_path):
    (tmp_path / "mine.yaml").write_text("preset: demo\ntraining: {epochs: 7}\ndata: {max_pixels: 5}\n")
    outcome, runner = search(GRID, source=str(tmp_path / "mine.yaml"), trials=1)
    assert config.load(str(outcome.best_file)) == runner.trained[0]
    said = yaml.safe_load(outcome.best_file.read_text())
    assert said["preset"] == "demo" and said["data"] == {"max_pixels": 5}
    (tmp_path / "plain.yaml").write_text("training: {epochs: 7}\n")
    for source in (str(tmp_path / "plain.yaml"), None):
        outcome, runner = search(GRID, source=source, trials=1)
        assert config.load(str(outcome.best_file)) == runner.trained[0]
        assert "preset" not in yaml.safe_load(outcome.best_file.read_text())


def test_what_was_searched_is_in_best_even_where_it_equals_the_preset(search):
    rate = config.load("tiny").training.learning_rate
    outcome, _ = search(space_of("training.learning_rate", f"{{value: {rate}}}", "grid"))
    assert yaml.safe_load(outcome.best_file.read_text()) == {"preset": "tiny", "training": {"learning_rate": rate}}


def test_small_numbers_survive(search):
    outcome, runner = search(space_of("training.learning_rate", "{value: 0.0000001}", "grid"))
    assert runner.trained[0].training.learning_rate == 1e-7
    assert config.load(str(outcome.best_file)).training.learning_rate == 1e-7


def test_minimize(search):
    outcome, _ = search(GRID.replace("maximize", "minimize"))
    assert [trial.number for trial in outcome.ranked] == [1, 4, 2, 5, 3, 6]


def test_the_same_again_runs_nothing_and_more_trials_go_on(search):
    first, _ = search(RANDOM, trials=3)
    again, runner = search(RANDOM, trials=3)
    assert again.trials == first.trials and again.name == first.name
    assert (runner.prepared, runner.trained) == (0, [])
    more, runner = search(RANDOM, trials=5)
    assert more.trials[:3] == first.trials and [t.number for t in more.trials] == [1, 2, 3, 4, 5]
    assert (runner.prepared, len(runner.trained)) == (1, 2)
    whole, _ = search(RANDOM, trials=5, name="whole")
    assert [t.parameters for t in whole.trials] == [t.parameters for t in more.trials]


def test_an_interrupted_sweep_makes_the_same_trial_again(search):
    class Interrupted(Runner):
        def train(self, config, on_event):
            if len(self.trained) == 2:
                raise KeyboardInterrupt
            return super().train(config, on_event)

    with pytest.raises(KeyboardInterrupt):
        search(GRID, Interrupted())
    outcome, runner = search(GRID)
    assert [t.number for t in outcome.trials] == [1, 2, 3, 4, 5, 6] and len(runner.trained) == 4
    assert (runner.trained[0].training.learning_rate, runner.trained[0].network.units) == (0.001, 18)


def test_a_line_that_was_cut_off_is_made_again(search):
    outcome, _ = search(GRID)
    path = outcome.folder / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again, runner = search(GRID)
    assert len(runner.trained) == 1 and [t.number for t in again.trials] == [1, 2, 3, 4, 5, 6]
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


def test_a_failed_trial_is_recorded_and_the_next_one_made(search):
    text = space_of("training.learning_rate", "{values: [0.5, 0.001]}", "grid")
    outcome, runner = search(text)
    assert [(t.state, t.error, t.run_id) for t in outcome.trials] == [
        ("failed", "the loss is nan", "run-1"), ("ok", None, "run-2")
    ]  # fmt: skip
    assert outcome.best.number == 2 and "2 of 2 trials made, 1 failed" in sweep.describe(outcome)[0]
    again, runner = search(text)
    assert runner.trained == [] and again.trials == outcome.trials


def test_what_does_not_go_together_is_a_failed_trial(search):
    text = "method: grid\nparameters: {network.attention: {values: [additive, dot]}, network.heads: {values: [1, 4]}}"
    outcome, runner = search(text)
    assert [t.state for t in outcome.trials] == ["ok", "failed", "ok", "ok"] and len(runner.trained) == 3
    assert "additive attention has one head" in outcome.trials[1].error


def test_where_all_fail_there_is_no_best(search):
    outcome, _ = search(space_of("training.learning_rate", "{value: 0.5}", "grid"))
    assert outcome.best is None and not outcome.best_file.exists()
    assert outcome.as_dict()["best_config"] is None and "1 failed" in sweep.describe(outcome)[0]


def test_how_many_trials(search):
    with pytest.raises(UsageError, match="method random has no end: say --trials N"):
        search(RANDOM)
    for key in ("trials", "run_cap"):
        assert len(search(RANDOM + f"{key}: 2\n")[0].trials) == 2
    assert len(search(RANDOM + "trials: 2\n", trials=1, name="other")[0].trials) == 1
    assert len(search(GRID, trials=4)[0].trials) == 4
    assert len(search(GRID, trials=99)[0].trials) == 6


def test_a_name_means_one_sweep(search):
    search(GRID, name="mine")
    with pytest.raises(UsageError, match="the sweep mine was begun with another space; take another --name"):
        search(RANDOM, name="mine", trials=1)
    with pytest.raises(UsageError, match="with another config"):
        search(GRID, name="mine", overrides=["training.epochs=3"])
    with pytest.raises(UsageError, match="with another data"):
        search(GRID, name="mine", data="elsewhere")
    with pytest.raises(UsageError, match="expected letters, digits"):
        search(GRID, name="../mine")


def test_other_data_under_the_same_name(search):
    search(GRID, trials=2)
    with pytest.raises(UsageError, match=r"have changed since the sweep .* was begun"):
        search(GRID, Runner(transformed="transform/2"))


def test_another_run_that_came_between(search):
    runner = Runner()
    runner.trained_on = "transform/2"
    with pytest.raises(UsageError, match=r"another run came between .* trial 1 was trained on its data"):
        search(GRID, runner)
    assert len(search(GRID)[1].trained) == 6, "nothing of it was recorded"


def test_events(search):
    heard = []
    search(GRID, trials=2, on_event=lambda name, values: heard.append((name, values)))
    assert [name for name, _ in heard] == ["sweep", "trial", "tried", "trial", "tried"]
    assert heard[0][1]["made"] == 0 and heard[0][1]["wanted"] == 2 and not heard[0][1]["wandb"]
    assert heard[3][1] == {"number": 2, "parameters": {"training.learning_rate": 0.001, "network.units": 17}}
    assert heard[4][1]["best"].number == 2


# --- W&B ---


class Wandb(types.ModuleType):
    """W&B as far as a sweep uses it; `choices` is what it chooses, in turn."""

    Settings = staticmethod(lambda **_: None)
    errors = types.SimpleNamespace(UsageError=ValueError)

    def __init__(self, choices):
        super().__init__("wandb")
        self.choices, self.run, self.swept, self.agents, self.runs = iter(choices), None, [], [], []

    @staticmethod
    def setup():
        server = {"base_url": os.environ["WANDB_BASE_URL"], "entity": None}
        return types.SimpleNamespace(
            settings=types.SimpleNamespace(**server, insecure_disable_ssl=False, identity_token_file=None)
        )

    def sweep(self, said, project):
        self.swept.append((said, project))
        return "abc123"

    def agent(self, sweep_id, function, project, count):
        self.agents.append((sweep_id, project, count))
        for _ in range(count):
            # Like the agent of W&B, in a thread, and deaf to what is raised there.
            thread = threading.Thread(target=self._quietly, args=(function,))
            thread.start()
            thread.join()

    @staticmethod
    def _quietly(function):
        with contextlib.suppress(Exception):
            function()

    def init(self, **arguments):
        if self.run is None:
            self.run = WandbRun(self, next(self.choices), arguments)
            self.runs.append(self.run)
        return self.run


class WandbRun:
    id, disabled = "w1", False

    def __init__(self, wandb, chosen, arguments):
        self.wandb, self.config, self.arguments, self.logged, self.exit_code = wandb, chosen, arguments, [], None

    def log(self, values, step=None):
        self.logged.append(values)

    def finish(self, exit_code):
        if self.wandb.run is self:
            self.wandb.run, self.exit_code = None, exit_code


@pytest.fixture
def wandb_server():
    with WandbServer() as server:
        yield server


@pytest.fixture
def wandb(monkeypatch, wandb_server):
    def fake(*units):
        module = Wandb([{"training.learning_rate": 0.001, "network.units": n} for n in units])
        monkeypatch.setitem(sys.modules, "wandb", module)
        for key, value in wandb_server.environment().items():
            monkeypatch.setenv(key, value)
        return module

    return fake


BAYES = GRID.replace("grid", "bayes").replace("[1e-3, 0.01]", "[1e-3, 0.5]")


def test_wandb_leads_where_its_key_is(search, wandb, tmp_path):
    module = wandb(16, 18)
    outcome, runner = search(BAYES, trials=2, name="led")
    assert module.swept[0][0]["name"] == "led" and module.swept[0][0]["method"] == "bayes"
    assert module.swept[0][0]["metric"] == {"name": "val_cider", "goal": "maximize"}
    assert module.agents == [("abc123", "memefly", 2)]
    assert [t.parameters["network.units"] for t in outcome.trials] == [16, 18] and outcome.best.number == 2
    assert [c.network.units for c in runner.trained] == [16, 18]
    assert json.loads((outcome.folder / "wandb.json").read_text()) == {"sweep": "abc123", "project": "memefly"}
    assert module.runs[1].logged == [{"val_cider": 18.0, "val_bleu4": 0.1}] and module.runs[1].exit_code == 0
    assert module.runs[1].arguments["mode"] == "online" and module.runs[1].arguments["dir"] == str(tmp_path / "root")

    module = wandb(17)
    more, runner = search(BAYES, trials=3, name="led")
    assert module.swept == [] and module.agents == [("abc123", "memefly", 1)], "it joins the same sweep"
    assert [t.number for t in more.trials] == [1, 2, 3] and len(runner.trained) == 1
    assert search(BAYES, trials=3, name="led")[1].prepared == 0


def test_a_trainer_that_ends_wandb_s_run_has_logged_to_it(search, wandb):
    module = wandb(16)

    class Tracked(Runner):
        def train(self, config, on_event):
            module.init().log({"val_cider": 16.0})
            module.run.finish(exit_code=0)
            return super().train(config, on_event)

    search(BAYES, Tracked(), trials=1)
    assert module.runs[0].logged == [{"val_cider": 16.0}] and len(module.runs) == 1


def test_a_trial_of_wandb_s_that_fails_is_recorded(search, wandb):
    module = wandb(16, 17)
    module.choices = iter([{"training.learning_rate": 0.5, "network.units": 16}, *module.choices])
    outcome, _ = search(BAYES, trials=2)
    assert [t.state for t in outcome.trials] == ["failed", "ok"]
    assert [run.exit_code for run in module.runs] == [1, 0] and module.runs[0].logged == []


def test_a_trial_that_wandb_stops_is_not_recorded(search, wandb):
    wandb(16, 17)

    class Stopped(Runner):
        def train(self, config, on_event):
            if config.network.units == 16:
                raise TrainingError("Trainer failed") from Exception()
            return super().train(config, on_event)

    outcome, _ = search(BAYES, Stopped(), trials=2)
    assert [(t.number, t.parameters["network.units"]) for t in outcome.trials] == [(1, 17)]


def test_what_goes_wrong_outside_a_trial_ends_the_sweep_of_wandb_too(search, wandb):
    module, runner = wandb(16, 17, 18), Runner()
    runner.trained_on = "transform/2"
    with pytest.raises(UsageError, match="another run came between"):
        search(BAYES, runner, trials=3)
    assert len(runner.trained) == len(module.runs) == 1


def test_where_wandb_s_server_is_gone_nothing_waits_for_it(search, wandb, wandb_server, monkeypatch, caplog):
    module = wandb(16)
    search(BAYES, trials=1, name="led")
    wandb_server.behave("500")
    monkeypatch.setenv("WANDB_ENTITY", "team")  # another question, to which no answer is known yet
    for name, expected in (("led", "W&B leads the sweep led: its server"), ("other", "method bayes is W&B's own: its")):
        with pytest.raises(UsageError, match=f"{expected} .*is out of reach"):
            search(BAYES, trials=2, name=name)
    assert len(search(GRID, trials=2, name="here")[0].trials) == 2 and len(module.agents) == 1
    assert [record.getMessage().count("status 500") for record in caplog.records] == [1], "it is asked and told once"


def test_a_sweep_of_wandb_s_ends_when_nobody_says_what_to_try(search, wandb, wandb_server, monkeypatch):
    module = wandb(16, 17)
    agent = module.agent

    def waits_for_ever(*args, **named):
        agent(*args, **named | {"count": 1})
        wandb_server.behave("hang up")
        threading.Event().wait(60)

    module.agent = waits_for_ever
    monkeypatch.setattr(searching, "_TO_BEGIN", 0.2)
    with pytest.raises(
        MemeflyError, match=r"W&B leads the sweep led, and cannot be asked what to try: it at .* is out of"
    ):
        search(BAYES, trials=2, name="led")
    wandb_server.behave("well")
    module.agent = agent
    assert len(search(BAYES, trials=2, name="led")[0].trials) == 2, "the trial before is kept"


def test_without_a_key_wandb_is_not_there(search, wandb, monkeypatch):
    module = wandb(16)
    search(BAYES, trials=1, name="led")
    for key, value in (("WANDB_API_KEY", ""), ("WANDB_MODE", "offline")):
        with monkeypatch.context() as patch:
            patch.setenv(key, value)
            with pytest.raises(UsageError, match="W&B leads the sweep led: set WANDB_API_KEY"):
                search(BAYES, trials=2, name="led")
            with pytest.raises(UsageError, match="method bayes is W&B's own: set WANDB_API_KEY"):
                search(BAYES, trials=2, name="other")
            assert len(search(GRID, trials=1, name=f"local-{key}")[0].trials) == 1
    assert len(module.agents) == 1
    search(GRID, trials=2, name="local-WANDB_MODE")
    assert len(module.agents) == 1, "a sweep that was begun here goes on here"
