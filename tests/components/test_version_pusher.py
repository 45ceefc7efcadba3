import json

import pytest

from components.version_pusher import executor
from components.version_pusher.executor import push
from memefly.exported.manifest import read_manifest


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    (folder / "memefly.json").write_text(json.dumps({"digest": "one", "metrics": {"val": {"bleu4": 0.5}}}))
    return folder


@pytest.fixture
def serving(tmp_path):
    return tmp_path / "serving" / "captioner"


def test_a_push_is_a_numbered_version(model, serving):
    version = push(model, serving, {"bleu4": 0.4})
    assert version.parent == serving and version.name.isdigit()
    assert (version / "variables" / "data").read_bytes() == b"weights"
    manifest = read_manifest(version)
    assert manifest["metrics"] == {"val": {"bleu4": 0.5}, "eval": {"bleu4": 0.4}}
    assert manifest["version"] == int(version.name)
    assert "eval" not in read_manifest(model)["metrics"]


def test_pushing_again_adds_nothing(model, serving):
    version = push(model, serving, {})
    assert push(model, serving, {}) == version
    assert [p.name for p in serving.iterdir()] == [version.name]


def test_another_model_is_a_newer_version_even_in_the_same_second(model, serving):
    first = push(model, serving, {})
    (model / "memefly.json").write_text(json.dumps({"digest": "two", "metrics": {}}))
    second = push(model, serving, {})
    assert int(second.name) > int(first.name)
    (model / "memefly.json").write_text(json.dumps({"digest": "one", "metrics": {}}))
    assert int(push(model, serving, {}).name) > int(second.name)  # an old model goes live again as a version of its own


@pytest.mark.parametrize("moment", ["copy_tree", "write_manifest", "replace"])
def test_a_push_that_is_killed_shows_nothing_and_leaves_nothing(model, serving, monkeypatch, moment):
    class Killed(BaseException):
        pass

    def die(source, target, *_, **__):
        if moment == "copy_tree":  # half way through
            (target / "saved_model.pb").write_bytes(b"gr")
        raise Killed

    owner = {"copy_tree": executor.storage, "write_manifest": executor, "replace": executor.os}[moment]
    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, die)
        with pytest.raises(Killed):
            push(model, serving, {})
    assert list(serving.iterdir()) == []
    version = push(model, serving, {})
    assert [p.name for p in serving.parent.iterdir()] == ["captioner"]
    assert (version / "saved_model.pb").read_bytes() == b"graph"
