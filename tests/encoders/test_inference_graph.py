"""Folding and casting, on networks that have what encoders have."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from memefly.encoders.inference_graph import InferenceGraph

pytestmark = pytest.mark.slow
layers = tf_keras.layers
SIGNATURE = [tf.TensorSpec([None, 32, 32, 3])]


def pictures(count=4):
    return tf.random.stateless_uniform([count, 32, 32, 3], [1, 2], -1.0, 1.0)


def settled(normalisation, x):
    """Batch normalisation with statistics and parameters as training would leave them: of no use are ones and zeros."""
    layer = layers.BatchNormalization(**normalisation)
    y = layer(x)
    rng, channels = np.random.default_rng(layer.input_shape[-1]), layer.input_shape[-1]
    layer.set_weights([rng.uniform(0.5, 1.5, channels).astype(np.float32) for _ in layer.weights])
    return y


def function(build):
    tf_keras.utils.set_random_seed(3)
    inputs = tf_keras.Input((32, 32, 3))
    model = tf_keras.Model(inputs, build(inputs))
    run = tf.function(lambda x: model(x, training=False), input_signature=SIGNATURE, autograph=False)
    concrete = run.get_concrete_function()
    concrete.model = model  # a concrete function does not keep its variables
    return concrete


def folds(x):
    """Each way in which a convolution can stand before batch normalisation: 4 of them."""
    x = settled({}, layers.Conv2D(8, 3, strides=2, use_bias=False)(x))
    x = settled({"scale": False}, layers.DepthwiseConv2D(3, use_bias=False)(layers.ReLU(6)(x)))
    x = settled({"epsilon": 0.1}, layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x))
    return settled({"center": False}, layers.Conv2D(12, 1, use_bias=False, activation=None)(layers.ReLU()(x)))


def does_not_fold(x):
    """Batch normalisation before the convolution, behind its bias or non-linearity, and beside another reader."""
    x = layers.Conv2D(8, 3, activation="relu")(settled({}, x))
    x = settled({}, layers.Conv2D(8, 3, use_bias=True)(settled({}, x)))
    both = layers.Conv2D(8, 3, use_bias=False)(x)
    return layers.Concatenate()([both, settled({}, both), layers.AveragePooling2D(3, 1)(x)])


def shares(x):
    """One kernel in two places with batch normalisation of their own behind it."""
    convolution = layers.Conv2D(8, 3, use_bias=False, padding="same")
    return settled({}, convolution(x)) + settled({"epsilon": 0.5}, convolution(x))


def operations(graph):
    traced = graph.function.get_concrete_function()
    return [node.op for node in traced.graph.as_graph_def().node]


@pytest.mark.parametrize(("build", "left"), [(folds, 0), (does_not_fold, 4), (shares, 2)])
def test_folded_it_computes_the_same(build, left):
    plain = function(build)
    graph = InferenceGraph(plain)
    np.testing.assert_allclose(graph(pictures()), plain(pictures()), rtol=2e-4, atol=2e-5)
    assert operations(graph).count("FusedBatchNormV3") == left
    assert graph.input_shape.as_list() == [None, 32, 32, 3] and graph.output_shape == plain.outputs[0].shape


def test_only_kernels_are_variables():
    """Shifts are numbers in the graph; there were a kernel and up to four of batch normalisation."""
    plain = function(folds)
    assert len(plain.variables) == 4 + 4 + 3 + 4 + 3
    assert len(InferenceGraph(plain).weights) == 4


@pytest.mark.parametrize("build", [folds, does_not_fold, shares])
def test_bfloat16_is_near(build):
    plain = function(build)
    graph = InferenceGraph(plain, "bfloat16")
    expected, got = plain(pictures()).numpy(), graph(pictures()).numpy()
    assert got.dtype == np.float32
    assert 0 < np.linalg.norm(got - expected) / np.linalg.norm(expected) < 0.02
    kernels = [w for w in graph.weights if len(w.shape) == 4]
    assert kernels and all(w.dtype == tf.bfloat16 for w in kernels)


def test_what_is_not_known_stays_in_float32():
    """A resize between convolutions has no bfloat16 of its own here; the mean at the end sums many."""

    def build(x):
        x = layers.Conv2D(8, 3, activation="relu")(x)
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        return tf.reduce_mean(layers.Conv2D(8, 3)(x), axis=[1, 2])

    plain = function(build)
    graph = InferenceGraph(plain, "bfloat16")
    np.testing.assert_allclose(graph(pictures()), plain(pictures()), rtol=0.05, atol=0.01)
    traced = graph.function.get_concrete_function()
    kinds = {n.op: n.attr["T"].type for n in traced.graph.as_graph_def().node if n.op in ("Conv2D", "Mean")}
    assert kinds == {"Conv2D": tf.bfloat16.as_datatype_enum, "Mean": tf.float32.as_datatype_enum}


def test_an_inference_graph_can_be_made_of_one():
    """As `memefly export` does from a model that was exported before."""
    plain = function(folds)
    once = InferenceGraph(plain)
    twice = InferenceGraph(once.function.get_concrete_function(), "bfloat16")
    np.testing.assert_array_equal(twice(pictures()), InferenceGraph(plain, "bfloat16")(pictures()))
