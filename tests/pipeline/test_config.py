import json

import pytest

from memefly.errors import ConfigError
from pipeline import config


@pytest.mark.parametrize("preset", ["tiny", "demo", "flickr8k", "memes"])
def test_presets_are_valid(preset):
    assert preset in config.presets()
    assert config.load(preset) != config.load()


def test_overrides_win_over_files_and_files_over_presets(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: demo\ntraining: {epochs: 7}\n")
    loaded = config.load(str(path), ["training.seed=5", "encoder.weights=imagenet"])
    assert (loaded.training.epochs, loaded.training.seed, loaded.encoder.weights) == (7, 5, "imagenet")
    assert loaded.network.units == config.load("demo").network.units
    assert loaded.training.pictures == config.load("demo").training.pictures


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["training.epochs=none"], r"training\.epochs: .*valid integer.*got 'none'"),
        (["training.epochs=0"], r"training\.epochs: .*greater than or equal to 1.*got 0"),
        (["trainings.epochs=1"], r"trainings is no key; known are data, text, encoder"),
        (["network.kind=perceiver"], r"network\.kind: .*'attention'.*got 'perceiver'"),
        (["decoding.max_length=99"], "lower the one or raise the other"),
        (["training.flip=0.5"], "set encoder.flip=true"),
        (["decoding.candidates=8", "decoding.mmi=0.3"], r"training\.without_picture is 0.*set it to 0\.1"),
        (["decoding.judged=20"], r"judged is 20, but with a temperature of 0"),
        (["epochs"], r"section\.key=value"),
        (["data.splits={train: -1}"], r"data\.splits\.train: .*greater than 0"),
        (["training.learning_rate=.inf"], r"training\.learning_rate: .*finite.*got inf"),
        (["data.max_quarantined=.nan"], r"data\.max_quarantined: .*got nan"),
        (["gate.floors.bleu4=.nan"], r"gate\.floors\.bleu4: .*finite.*got nan"),
        (["gate.slices.group.floors.bleu4=-.inf"], r"gate\.slices\.group\.floors\.bleu4: .*finite"),
        (["data.splits.train=.inf"], r"data\.splits\.train: .*got inf"),
        (["training.epochs=" + "[" * 1200], "the value is not YAML"),
    ],
)
def test_what_is_wrong_is_named(overrides, says):
    with pytest.raises(ConfigError, match=says):
        config.load("tiny", overrides)


def test_a_configuration_that_is_not_there():
    with pytest.raises(ConfigError, match="neither a YAML file nor one of the presets demo, flickr8k"):
        config.load("nowhere")


def test_a_file_that_is_not_yaml(tmp_path):
    (tmp_path / "c.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        config.load(str(tmp_path / "c.yaml"))


def test_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.load("tiny").training.epochs = 3


def test_rules_of_the_gate_are_given_one_by_one():
    gate = config.load(None, ["gate.floors.bleu4=0.3", "gate.ceilings.copied_share=null"]).gate
    assert gate.floors == config.GATE["floors"] | {"bleu4": 0.3}
    assert gate.ceilings == {} and gate.regressions == config.GATE["regressions"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("gate.floors.bleu5=0.1", r"gate\.floors\.bleu5.*'bleu4'.*'template_recall'.*got 'bleu5'"),
        ("gate.regressions.copied_share=0.1", r"gate\.regressions\.copied_share"),
        ("gate.slices.colour={floors: {bleu4: 0.1}}", r"gate\.slices\.colour.*'group'"),
        ("gate.min_bleu4=0.1", r"gate\.min_bleu4 is no key; known are floors, ceilings"),
    ],
)
def test_a_rule_about_nothing_is_named(override, says):
    with pytest.raises(ConfigError, match=says):
        config.load(None, [override])


def test_rules_of_slices_too():
    rules = ["gate.slices.group.floors={bleu4: 0.1, cider: 0.2}", "gate.slices.group.floors.cider=null"]
    assert config.load(None, rules).gate.slices["group"].floors == {"bleu4": 0.1}
    with pytest.raises(ConfigError, match=r"gate\.slices\.group\.floor is no key; known are floors, regressions"):
        config.load(None, ["gate.slices.group.floor.bleu4=0.1"])


def test_fewer_bits_are_better_so_they_have_no_floor_on_slices():
    assert config.load(None, ["gate.slices.group.regressions.bits_a_character=0.1"]).gate.slices["group"].regressions
    with pytest.raises(ConfigError, match=r"gate\.slices\.group\.floors\.bits_a_character"):
        config.load(None, ["gate.slices.group.floors.bits_a_character=1"])


def test_distances_need_their_encoder(monkeypatch):
    monkeypatch.setattr(config.sentences, "PACKAGE", "not_installed_anywhere")
    with pytest.raises(ConfigError, match=r"gate: frechet_ratio need a sentence encoder.*memefly\[sentences\]"):
        config.load(None, ["gate.ceilings.frechet_ratio=2"])


@pytest.mark.parametrize("given", ["gate.floors=null", "gate.floors=3"])
def test_a_kind_of_rules_is_a_mapping(given):
    with pytest.raises(ConfigError, match=r"gate\.floors: .*valid dictionary"):
        config.load("flickr8k", [given])


def test_a_gate_that_could_not_judge_a_first_model():
    nothing = [f"gate.floors.{name}=null" for name in config.GATE["floors"]] + ["gate.ceilings.copied_share=null"]
    with pytest.raises(ConfigError, match="one floor or ceiling must be left"):
        config.load(None, nothing)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "c.yaml").write_bytes("preset: tiny\r\ntraining: {epochs: 7}  # größer\r\n".encode(encoding))
    assert config.load(str(tmp_path / "c.yaml")).training.epochs == 7


def test_messages_are_ours_and_of_one_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("# größer\ntraining: {epochs: 7}\n".encode("latin-1"))
    (tmp_path / "torn.yaml").write_text("a: [\nb: {")
    for name in ("latin", "torn"):
        with pytest.raises(ConfigError) as raised:
            config.load(str(tmp_path / f"{name}.yaml"))
        assert "\n" not in str(raised.value) and f"{name}.yaml is not" in str(raised.value)
    for override in (
        "network.members=0",
        "decoding.groups=7",
        "training.self_critical.temperature=-1",
        "encoder.size=1",
    ):
        with pytest.raises(ConfigError) as raised:
            config.load("tiny", [override])
        assert "Value error" not in str(raised.value), str(raised.value)


def test_what_is_told_of_it_gives_nothing_away():
    """Neither what is blocked nor what opens a store; that either changed can be seen."""
    given = ["--runner=FlinkRunner", "--s3_secret_access_key=hush", "--parallelism=4"]
    overrides = ["safety.block=[zorg, rival brand]", f"beam={given}"]
    told = config.load("tiny", overrides).told()
    assert "zorg" not in json.dumps(told) and "hush" not in json.dumps(told)
    assert told["beam"] == ["--runner=FlinkRunner", "--s3_secret_access_key=(not told)", "--parallelism=4"]
    assert told == config.load("tiny", overrides).told()
    assert told["safety"]["block"] != config.load("tiny", ["safety.block=[zork]"]).told()["safety"]["block"]
    assert config.load("tiny").told()["safety"]["block"] == [] and told["network"]["units"] == 64


def test_what_is_wrong_is_told_without_what_opens_a_store():
    with pytest.raises(ConfigError) as told:
        config.load("tiny", ["beam='--s3_secret_access_key=hush,--runner=x'"])
    assert "hush" not in str(told.value) and "--s3_secret_access_key=(not told)" in str(told.value)
    in_an_url = ["--flink_master=http://me:hush@flink:8081", "--runner=FlinkRunner"]
    assert (
        config.load("tiny", [f"beam={in_an_url}"]).told()["beam"][0] == "--flink_master=http://me:(not told)@flink:8081"
    )
    with pytest.raises(ConfigError) as told:
        config.load("tiny", ["beam=--flink_master=http://me:hush@flink:8081"])
    assert "hush" not in str(told.value) and "http://me:(not told)@flink" in str(told.value)
