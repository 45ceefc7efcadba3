import logging

import pytest
import tensorflow as tf

from memefly.devices import DevicesConfig, configure


@pytest.fixture(autouse=True)
def _as_before():
    yield
    configure(DevicesConfig())


@pytest.fixture
def growth(monkeypatch):
    """What was asked of each GPU of a machine that is said to have two."""
    asked = {}
    with monkeypatch.context() as patched:
        patched.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
        patched.setattr(tf.config.experimental, "set_memory_growth", asked.__setitem__)
        yield asked


@pytest.mark.parametrize("grows", [True, False])
def test_memory_of_every_gpu(growth, grows):
    configure(DevicesConfig(memory_growth=grows))
    assert growth == {"GPU:0": grows, "GPU:1": grows}


def test_a_gpu_in_use_is_told_of_and_stops_nothing(growth, monkeypatch, caplog):
    def refuse(gpu, enable):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    with caplog.at_level(logging.WARNING):
        configure(DevicesConfig())
    assert "devices.memory_growth has no effect: Physical devices cannot" in caplog.text


def test_xla_and_tensor_float_32_are_set_and_taken_back():
    configure(DevicesConfig(xla=True, tensor_float_32=False))
    assert tf.config.optimizer.get_jit() == "autoclustering"
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    configure(DevicesConfig())
    assert not tf.config.optimizer.get_jit()
    assert tf.config.experimental.tensor_float_32_execution_enabled()
