import json
import threading
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from memefly.commands import main as cli
from memefly.errors import PromotionError
from memefly.serving import promotion


class Serving:
    """TensorFlow Serving's rule for labels: one in use moves only to a version that is loaded. Reads every version of
    the file, as a server that polls often enough does."""

    def __init__(self):
        self.labels, self.loaded = {}, set()

    def read(self, serving) -> None:
        labels, versions = served(serving.parent)
        for label, version in labels.items():
            moved = label in self.labels and self.labels[label] != version
            assert not moved or version in self.loaded, f"refused: {label} on {version}, which is not loaded"
        self.labels, self.loaded = labels, set(versions)


@pytest.fixture(autouse=True)
def server(monkeypatch):
    server, write = Serving(), promotion._write
    monkeypatch.setattr(promotion, "SETTLE", 0.0)
    monkeypatch.setattr(promotion, "_write", lambda serving, config: (write(serving, config), server.read(serving)))
    return server


@pytest.fixture
def root(tmp_path):
    """A pipeline's root with three blessed versions, one that nobody blessed and one that is no model."""
    for version in (100, 200, 300):
        push(tmp_path, version, {"blessed": True})
    push(tmp_path, 400, {})
    (tmp_path / "serving" / "captioner" / "500").mkdir()
    return tmp_path


def push(root, version: int, manifest: dict) -> None:
    folder = root / "serving" / "captioner" / str(version)
    folder.mkdir(parents=True)
    (folder / "memefly.json").write_text(json.dumps(manifest))
    (folder / "saved_model.pb").touch()


def served(root):
    """As TensorFlow Serving reads it."""
    content = (root / "serving" / "models.config").read_text()
    (config,) = text_format.Parse(content, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == ("captioner", "/models/captioner", "tensorflow")
    return dict(config.version_labels), list(config.model_version_policy.specific.versions)


def test_labels_move_and_move_back(root):
    promotion.promote(root, 100, "stable")
    assert served(root) == ({"stable": 100}, [100])
    promotion.promote(root, 200, "canary")
    assert served(root) == ({"stable": 100, "canary": 200}, [100, 200])
    promotion.promote(root, "200", "stable", why="two good days", who="ada")
    assert served(root) == ({"stable": 200, "canary": 200}, [100, 200]), "100 stays loaded, to roll back to"
    promotion.promote(root, 300, "stable")
    assert served(root) == ({"stable": 300, "canary": 200}, [200, 300])
    assert promotion.rollback(root).version == 200
    assert served(root) == ({"stable": 200, "canary": 200}, [100, 200])
    assert promotion.rollback(root, "stable").version == 100
    assert served(root) == ({"stable": 100, "canary": 200}, [100, 200])
    with pytest.raises(PromotionError, match="stable has only been on version 100"):
        promotion.rollback(root)
    promotion.promote(root, 300, "stable")
    assert promotion.rollback(root).version == 100
    promotion.promote(root, 300, "canary")
    assert promotion.rollback(root, "canary").version == 200
    assert promotion.labels(root) == {"stable": 100, "canary": 200}


def test_the_label_waits_for_the_version_to_be_loaded(root, server):
    promotion.promote(root, 100, "stable")
    waited = []

    def wait(version):
        waited.append((version, server.labels, server.loaded))

    promotion.promote(root, 200, "stable", wait=wait)
    assert waited == [(200, {"stable": 100}, {100, 200})]
    promotion.rollback(root, wait=wait)
    promotion.promote(root, 200, "canary", wait=wait)
    assert len(waited) == 1, "neither what stayed loaded nor a label that nobody asks for has to wait"

    def never(version):
        raise PromotionError("it did not load")

    with pytest.raises(PromotionError, match="did not load"):
        promotion.promote(root, 300, "stable", wait=never)
    assert promotion.labels(root) == {"stable": 100, "canary": 200}
    assert [m.version for m in promotion.history(root)] == [100, 200, 100, 200]


def test_the_sample_is_what_is_written(root):
    """In deploy/, for those who write theirs by hand."""
    sample = Path(__file__).parents[2] / "deploy" / "tf-serving" / "models.config.sample"
    promotion.promote(root, 100, "stable")
    promotion.promote(root, 200, "canary")
    written = (root / "serving" / "models.config").read_text()
    assert written.replace("100", "1700000000").replace("200", "1700086400") == sample.read_text()


def test_history_says_who_when_and_why(root):
    promotion.promote(root, 100, "stable", why="the first", who="ada")
    promotion.promote(root, 200, "stable", why="better on dogs", who="bob")
    promotion.rollback(root, why="worse on cats", who="eve")
    told = [(m.who, m.why, m.action, m.before, m.version) for m in promotion.history(root)]
    assert told == [
        ("ada", "the first", "promote", None, 100),
        ("bob", "better on dogs", "promote", 100, 200),
        ("eve", "worse on cats", "rollback", 200, 100),
    ]
    assert all(m.when.endswith("+00:00") for m in promotion.history(root))


@pytest.mark.parametrize(
    ("version", "label", "said"),
    [
        (250, "stable", "there are 100, 200, 300, 400, 500"),
        ("newest", "stable", "no version newest"),
        (400, "stable", "no gate has blessed it"),
        (500, "canary", "no model of memefly"),
        (100, "production", "expected stable or canary"),
    ],
)
def test_what_is_refused_changes_nothing(root, version, label, said):
    promotion.promote(root, 100, "stable")
    before = (served(root), promotion.history(root))
    with pytest.raises(PromotionError, match=said):
        promotion.promote(root, version, label)
    assert (served(root), promotion.history(root)) == before


def test_a_version_that_is_gone_is_not_rolled_back_to(root):
    promotion.promote(root, 100, "stable")
    promotion.promote(root, 200, "stable")
    (root / "serving" / "captioner" / "100" / "memefly.json").unlink()
    with pytest.raises(PromotionError):
        promotion.rollback(root)
    assert served(root)[0] == {"stable": 200}


def cut_off(monkeypatch, move) -> None:
    """The move is written into the history, and then the disk is full."""
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_write", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError):
            move()


def test_moves_that_were_cut_off_do_not_count(root, monkeypatch):
    promotion.promote(root, 100, "stable")
    promotion.promote(root, 200, "canary")  # loads 200, so that a move of stable takes one step
    cut_off(monkeypatch, lambda: promotion.promote(root, 200, "stable"))
    assert promotion.labels(root)["stable"] == 100
    promotion.promote(root, 200, "stable")
    assert promotion.rollback(root).version == 100, "repeated, it counts once"
    cut_off(monkeypatch, lambda: promotion.promote(root, 200, "stable"))
    promotion.promote(root, 300, "stable")
    cut_off(monkeypatch, lambda: promotion.rollback(root))
    assert promotion.labels(root)["stable"] == 300
    assert promotion.rollback(root).version == 100, (
        "200 never was, and the rollback that failed is done by repeating it"
    )


def test_a_history_that_somebody_spoilt(root):
    promotion.promote(root, 100, "stable")
    path = root / "serving" / "promotions.jsonl"
    path.write_text(path.read_text() + '{"when": "2026')
    with pytest.raises(PromotionError, match="mend or remove that line"):
        promotion.rollback(root)


def test_a_small_model_is_not_for_tensorflow_serving(root):
    (root / "serving" / "captioner" / "300" / "saved_model.pb").unlink()
    with pytest.raises(PromotionError, match="no SavedModel"):
        promotion.promote(root, 300, "stable")


def test_moves_at_once_lose_none(root):
    moves = [(200, "canary"), (100, "stable")] * 5 + [(300, "canary"), (200, "stable")] * 5
    failed = []

    def move(version, label):
        try:
            promotion.promote(root, version, label)
        except PromotionError as error:
            failed.append(error)

    threads = [threading.Thread(target=move, args=each) for each in moves]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all("already" in str(error) for error in failed)
    last = {m.label: m.version for m in promotion.history(root)}
    assert promotion.labels(root) == last
    assert len(promotion.history(root)) == len(moves) - len(failed)


def test_a_damaged_configuration_is_left_alone(root):
    path = root / "serving" / "models.config"
    path.write_text("model_config_list {")
    with pytest.raises(PromotionError, match="mend or remove it"):
        promotion.promote(root, 100, "stable")
    assert path.read_text() == "model_config_list {" and promotion.history(root) == []


def test_the_commands(root, capsys):
    assert cli.main(["promote", "--root", str(root), "--version", "200", "--to", "stable", "--why", "first"]) == 0
    assert "stable: no version -> 200" in capsys.readouterr().out
    assert cli.main(["promote", "--root", str(root), "--version", "latest", "--to", "stable"]) == 2
    assert "no model of memefly" in capsys.readouterr().err  # 500 is the highest
    assert cli.main(["promote", "--root", str(root), "--version", "300", "--to", "stable", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["before"] == 200
    assert cli.main(["rollback", "--root", str(root)]) == 0
    assert "stable: 300 -> 200" in capsys.readouterr().out
    assert cli.main(["rollback", "--root", str(root / "nowhere")]) == 2
    assert "Is --root the pipeline's?" in capsys.readouterr().err
