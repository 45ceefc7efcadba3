"""How fast a training step is, in captions a second, against two published ways to train a captioner.

    python -m benchmarks.training [--repeats 5] [--precision bfloat16] [--small]

Three networks of ours go against the first peer: additive attention over 256 values, equal in kind and the one that
`ratio` is about; the same over 512, the tutorial's width; and dot products in four heads.

`tutorial`, re-implemented: TensorFlow's "Image captioning with visual attention" in its form of 2018 to 2021
(https://www.tensorflow.org/tutorials/text/image_captioning, tensorflow/docs), after Show, Attend and Tell (arXiv
1502.03044) and Bahdanau et al. (1409.0473). A row of features for every caption, captions padded to one length (49 is
what its own captions, of COCO, come to), a Python loop over the words, everything projected inside it. About
half of the ratio is that padding: `--padded 18`, our batches' mean length, shows the rest.

`prefix`, re-implemented: how the original memefly trained (BloomTech-Labs/memefly-ds, `MemeDataGenerator` and
`cnn_par_inject_rnn_network`). A caption of n words and its end becomes n + 1 samples, each a picture's vector and a
prefix padded in front to the longest caption; the recurrent network reads all of it for one word. It goes against our
par-inject network at the same mathematics, without dropout on either side; `check_prefixes` holds both to it. Making
the samples is not timed, and targets are ids where the original had them one-hot.

Captions are random words, as long as those of Flickr8k: 11 words in the mean, standard deviation 3.7, from 3 to 35, and
independent within a picture, which keeps batches longer than they are. Ours come as `memefly.training.inputs` feeds
them, 13 pictures with 5 captions each, which is 65 where the tutorial has 64; bucketed, and cut to the longest of the
batch. One timing of ours runs over several batches, from short captions to long ones. All sides take turns in each of
`--repeats` rounds; told are medians. `compile`: from nothing to the end of the first step, less a later step.

Shapes: P pictures, C captions a picture, B = P * C captions, L = h * w positions, D feature channels, E embedding,
U units, V words, T tokens, N samples.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from memefly import networks, provenance
from memefly.encoders import precision
from memefly.networks import Network, NetworkConfig
from memefly.text import END_ID, PAD_ID, RESERVED_TOKENS, START_ID
from memefly.training import TrainingConfig, losses
from memefly.training.optimizer import adamw

layers = tf_keras.layers


@dataclass(frozen=True)
class Sizes:
    embedding: int = 256
    units: int = 512
    vocabulary: int = 5000
    feature_shape: tuple[int, int, int] = (8, 8, 2048)


SMALL = Sizes(embedding=16, units=32, vocabulary=100, feature_shape=(2, 2, 8))


def our_network(sizes: Sizes, **config) -> Network:
    # As in the tutorial, not as in our own recipe: words have a matrix of their own at either end.
    config = {"dropout": 0.3, "tie_weights": False, **config}
    network = NetworkConfig(embedding=sizes.embedding, units=sizes.units, **config)
    return networks.build(network, sizes.vocabulary, sizes.feature_shape, seed=0)


# --- captions -----------------------------------------------------------------------------------------------------


def draw_lengths(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Tokens of captions about as long as those of Flickr8k, `<s>` and `</s>` counted. A gamma distribution: like
    theirs, it leans to the right."""
    mean, deviation = 11.0, 3.7
    words = rng.gamma((mean / deviation) ** 2, deviation**2 / mean, shape)
    return np.clip(np.rint(words), 3, 35).astype(int) + 2


def bucketed(lengths: np.ndarray, bucket: int, pictures: int) -> Iterator[np.ndarray]:
    """Lengths (n, C) of pictures' captions to those of batches (P, C), put together as in `memefly.training.inputs`."""
    windows = defaultdict(list)
    for one in lengths:
        window = windows[one.max() // bucket]
        window.append(one)
        if len(window) == pictures:
            yield np.stack(window)
            window.clear()


def spread(items: list, n: int) -> list:
    """n of the items, evenly from the first to the last."""
    return [items[int((i + 0.5) * len(items) / n)] for i in range(n)]


def draw_tokens(rng: np.random.Generator, lengths: np.ndarray, vocabulary: int, padded: int = 0) -> np.ndarray:
    """Lengths (…,) to random captions int32 (…, T); T is the longest, or `padded`."""
    position = np.arange(padded or lengths.max())
    last = lengths[..., np.newaxis] - 1
    tokens = rng.integers(len(RESERVED_TOKENS), vocabulary, (*lengths.shape, len(position)))
    tokens = np.where(position == 0, START_ID, np.where(position == last, END_ID, tokens))
    return np.where(position > last, PAD_ID, tokens).astype(np.int32)


# --- ours ---------------------------------------------------------------------------------------------------------


def our_step(network: Network, config: TrainingConfig, feature_shape: tuple[int, int, int]) -> Callable:
    """The cross-entropy stage's step, features (P, h, w, D) and tokens (P, C, T) to the loss."""
    variables = network.trainable_variables
    optimizer = adamw(config, config.learning_rate, 10_000, config.warmup)
    optimizer.build(variables)

    def step(features, tokens):
        noise = (config.seed, tf.cast(optimizer.iterations, tf.int32))
        with tf.GradientTape() as tape:
            logits, alphas = network.teacher_forced(features, tokens, training=True, noise=noise)
            loss, _ = losses.caption_loss(
                logits,
                alphas,
                tokens,
                losses.count(tokens),
                label_smoothing=config.label_smoothing,
                attention_penalty=config.attention_penalty if network.attends else 0.0,
            )
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    signature = [tf.TensorSpec([None, *feature_shape], tf.float32), tf.TensorSpec([None, None, None], tf.int32)]
    return tf.function(step, input_signature=signature, autograph=False)


class Ours:
    """A network of ours in training: builds it, warms up and, called, goes once over all batches."""

    def __init__(self, sizes: Sizes, config: TrainingConfig, features: tf.Tensor, batches: list[tf.Tensor], **network):
        self._features, self._batches, self._precision = features, batches, config.precision
        self.compile_seconds = compile_seconds(
            lambda: setattr(self, "_step", our_step(our_network(sizes, **network), config, sizes.feature_shape)),
            lambda: self._run(batches[:1]),
        )
        self()

    def __call__(self) -> int:
        return self._run(self._batches)

    def _run(self, batches) -> int:
        with precision.computing_in(self._precision):
            loss = [float(self._step(self._features, tokens)) for tokens in batches]
        assert np.isfinite(loss).all()
        return sum(math.prod(tokens.shape[:2]) for tokens in batches)


# --- peer: the tutorial -------------------------------------------------------------------------------------------


class AdditiveAttention(tf_keras.Model):
    def __init__(self, units: int):
        super().__init__()
        self.of_features, self.of_hidden, self.score = layers.Dense(units), layers.Dense(units), layers.Dense(1)

    def call(self, features, hidden):
        energy = tf.nn.tanh(self.of_features(features) + self.of_hidden(tf.expand_dims(hidden, 1)))  # (B, L, U)
        alphas = tf.nn.softmax(self.score(energy), axis=1)  # (B, L, 1)
        return tf.reduce_sum(alphas * features, axis=1)  # (B, E)


class TutorialEncoder(tf_keras.Model):
    def __init__(self, embedding: int):
        super().__init__()
        self.project = layers.Dense(embedding)

    def call(self, features):
        return tf.nn.relu(self.project(features))  # (B, L, E)


class TutorialDecoder(tf_keras.Model):
    def __init__(self, sizes: Sizes):
        super().__init__()
        self.embedding = layers.Embedding(sizes.vocabulary, sizes.embedding)
        self.gru = layers.GRU(
            sizes.units, return_sequences=True, return_state=True, recurrent_initializer="glorot_uniform"
        )
        self.hidden, self.words = layers.Dense(sizes.units), layers.Dense(sizes.vocabulary)
        self.attention = AdditiveAttention(sizes.units)

    def call(self, token, features, hidden):
        context = self.attention(features, hidden)
        x = tf.concat([tf.expand_dims(context, 1), self.embedding(token)], axis=-1)  # (B, 1, 2E)
        # As published: the GRU starts from zeros at every word; what it has read goes on through attention alone.
        outputs, state = self.gru(x)  # (B, 1, U), (B, U)
        x = self.hidden(outputs)
        return self.words(tf.reshape(x, [-1, x.shape[2]])), state  # (B, V)


def tutorial_step(sizes: Sizes) -> Callable:
    """The tutorial's training step, features (B, L, D) and tokens (B, T) to the loss."""
    encoder, decoder = TutorialEncoder(sizes.embedding), TutorialDecoder(sizes)
    optimizer = tf_keras.optimizers.Adam()
    cross_entropy = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")

    def masked(targets, logits):
        loss = cross_entropy(targets, logits)  # (B,)
        return tf.reduce_mean(loss * tf.cast(tf.not_equal(targets, PAD_ID), loss.dtype))

    @tf.function
    def step(features, tokens):
        loss = 0.0
        hidden = tf.zeros([tokens.shape[0], sizes.units])
        token = tf.fill([tokens.shape[0], 1], START_ID)
        with tf.GradientTape() as tape:
            memory = encoder(features)
            for i in range(1, tokens.shape[1]):
                logits, hidden = decoder(token, memory, hidden)
                loss += masked(tokens[:, i], logits)
                token = tf.expand_dims(tokens[:, i], 1)
        variables = encoder.trainable_variables + decoder.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss / tokens.shape[1]

    return step


class Tutorial:
    def __init__(self, sizes: Sizes, features: tf.Tensor, tokens: tf.Tensor):
        self._features, self._tokens = features, tokens
        self.compile_seconds = compile_seconds(lambda: setattr(self, "_step", tutorial_step(sizes)), self)

    def __call__(self) -> int:
        assert np.isfinite(float(self._step(self._features, self._tokens)))
        return self._tokens.shape[0]


# --- peer: prefixes -----------------------------------------------------------------------------------------------


def prefix_model(sizes: Sizes, length: int) -> tf_keras.Model:
    """Our par-inject network, run from the start for every word: picture vectors (N, D) and prefixes (N, length) padded
    in front to the probabilities (N, V) of the next word."""
    picture = layers.Input([sizes.feature_shape[2]])
    prefix = layers.Input([length], dtype=tf.int32)
    words = layers.Embedding(sizes.vocabulary, sizes.embedding, mask_zero=True, name="words")(prefix)  # (N, T, E)
    pictures = layers.RepeatVector(length)(layers.Dense(sizes.embedding, name="picture")(picture))  # (N, T, E)
    hidden = layers.GRU(sizes.units, name="cell")(layers.Concatenate()([words, pictures]))  # (N, U)
    mixed = layers.Dense(sizes.embedding, activation="tanh", use_bias=False, name="mix")(hidden)  # (N, E)
    output = layers.Dense(sizes.vocabulary, activation="softmax", name="output")(mixed)
    return tf_keras.Model([picture, prefix], output)


def copy_weights(network: Network, model: tf_keras.Model) -> None:
    """From our par-inject network to `prefix_model`."""
    cell, words, pooled = network.cell, network.words, network.pooled
    weights = {
        "words": [words.embedding],
        "picture": [pooled.kernel, pooled.bias],
        "cell": [
            tf.concat([cell.kernels["word"], cell.kernels["picture"]], axis=0),
            cell.recurrent,
            tf.stack([cell.bias, cell.recurrent_bias]),
        ],
        "mix": [network.output_state],
        "output": [words.kernel, words.bias],
    }
    for name, values in weights.items():
        model.get_layer(name).set_weights([value.numpy() for value in values])


def disturb(network: Network, scale: float) -> None:
    """Adds noise to all weights, so that biases are not zero and words not about equally likely."""
    for i, variable in enumerate(network.variables):
        variable.assign_add(tf.random.stateless_normal(variable.shape, [7, i], stddev=scale))


def pad_front(prefix: np.ndarray, length: int) -> np.ndarray:
    return np.pad(prefix, [length - len(prefix), 0], constant_values=PAD_ID)


def expand(pictures: np.ndarray, tokens: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture vectors (B, D) and captions (B, T) to samples: pictures (N, D), prefixes (N, length), next words (N,)."""
    samples = [
        (picture, pad_front(caption[:i], length), caption[i])
        for picture, caption in zip(pictures, tokens)
        for i in range(1, int((caption != PAD_ID).sum()))
    ]
    return tuple(np.stack(column) for column in zip(*samples))


class Prefixes:
    def __init__(self, sizes: Sizes, pictures: np.ndarray, tokens: np.ndarray, longest: int):
        self._captions = len(tokens)
        *inputs, targets = expand(pictures, tokens, longest - 1)
        self._inputs, self._targets = [tf.constant(x) for x in inputs], tf.constant(targets)

        def build():
            self._model = prefix_model(sizes, longest - 1)
            self._model.compile(optimizer=tf_keras.optimizers.Adam(), loss="sparse_categorical_crossentropy")

        self.compile_seconds = compile_seconds(build, self)

    def __call__(self) -> int:
        assert np.isfinite(self._model.train_on_batch(self._inputs, self._targets))
        return self._captions


def check_prefixes() -> None:
    """Our par-inject network and the prefixes', with the same weights, are equally surprised by the same captions."""
    sizes, rng = Sizes(embedding=6, units=8, vocabulary=20, feature_shape=(2, 2, 5)), np.random.default_rng(0)
    network = our_network(sizes, kind="par_inject", dropout=0.0)
    disturb(network, 0.3)
    tokens = draw_tokens(rng, draw_lengths(rng, (3, 2)), sizes.vocabulary)  # (P, C, T)
    features = rng.standard_normal([3, *sizes.feature_shape]).astype(np.float32)
    counts = losses.count(tf.constant(tokens))
    logits, alphas = network.teacher_forced(features, tokens, training=True, noise=(0, 0))
    ours = float(losses.caption_loss(logits, alphas, tokens, counts)[1] * counts.tokens)

    model = prefix_model(sizes, tokens.shape[2])
    copy_weights(network, model)
    vectors = np.repeat(features.mean(axis=(1, 2)), 2, axis=0)  # (B, D)
    *inputs, targets = expand(vectors, tokens.reshape(6, -1), tokens.shape[2])
    probabilities = model(inputs).numpy()
    peer = -np.log(probabilities[np.arange(len(targets)), targets]).sum()
    np.testing.assert_allclose(peer, ours, rtol=1e-4)


# --- timing -------------------------------------------------------------------------------------------------------


def compile_seconds(build: Callable[[], None], run: Callable[[], object]) -> float:
    """What the first run takes longer than a later one; building counts as part of it."""

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    start = time.perf_counter()
    build()
    building = time.perf_counter() - start
    first = timed()
    return building + first - statistics.median(timed() for _ in range(3))


def rates(repeats: int, **sides: Callable[[], int]) -> dict[str, list[float]]:
    """Captions a second of each side in each of the rounds, in which all take turns; a side returns its captions."""
    found = defaultdict(list)
    for _ in range(repeats):
        for name, run in sides.items():
            start = time.perf_counter()
            captions = run()
            found[name].append(captions / (time.perf_counter() - start))
    return found


def at_least_five(text: str) -> int:
    if int(text) < 5:
        raise argparse.ArgumentTypeError(f"a median of {text} timings says little; expected 5 or more")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=at_least_five, default=5, help="rounds in which all sides take turns")
    parser.add_argument("--batches", type=int, default=8, help="of ours in one timing, short captions to long")
    parser.add_argument("--padded", type=int, default=49, help="tokens that the tutorial pads captions to")
    parser.add_argument("--expanded", type=int, default=8, help="captions in one batch of prefixes")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of our step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    arguments = parser.parse_args()
    sizes, rng = (SMALL if arguments.small else Sizes()), np.random.default_rng(arguments.seed)
    computed_in = precision.resolve(arguments.precision)
    if computed_in != arguments.precision:
        print(f"this processor has no {arguments.precision}: our step is computed in {computed_in}")
    check_prefixes()

    config = TrainingConfig(precision=computed_in)
    plain = TrainingConfig(precision=computed_in, label_smoothing=0.0)
    lengths = draw_lengths(rng, (6000, config.captions_per_picture))  # Flickr8k has so many pictures to train on
    bags = sorted(bucketed(lengths, config.bucket, config.pictures), key=np.max)
    bags = [-np.sort(-bag, axis=1) for bag in spread(bags, arguments.batches)]  # a picture's longest caption first
    batches = [tf.constant(draw_tokens(rng, bag, sizes.vocabulary)) for bag in bags]
    features = rng.standard_normal([config.pictures, *sizes.feature_shape], dtype=np.float32)  # (P, h, w, D)
    ours = (sizes, config, tf.constant(features), batches)

    B, h, w, D = 64, *sizes.feature_shape
    picture_of = np.arange(B) // config.captions_per_picture
    padded = draw_tokens(rng, np.minimum(draw_lengths(rng, (B,)), arguments.padded), sizes.vocabulary, arguments.padded)
    repeated = features.reshape(-1, h * w, D)[picture_of]  # (B, L, D)
    sides = {
        "ours": Ours(*ours, attention="additive", attention_units=256),
        "tutorial": Tutorial(sizes, tf.constant(repeated), tf.constant(padded)),
        "ours_512": Ours(*ours, attention="additive", attention_units=512),
        "ours_dot": Ours(*ours, attention="dot", heads=4, attention_units=256),
    }
    told = rates(arguments.repeats, **sides)

    expanded = np.array(spread(sorted(lengths.ravel()), arguments.expanded))
    tokens = draw_tokens(rng, expanded, sizes.vocabulary)  # (B, T)
    pictures = features.mean(axis=(1, 2))[np.arange(len(tokens)) % len(features)]  # (B, D)
    # Not in the rounds above: this way only two networks at a time hold memory and threads.
    par_inject = {
        "prefix_ours": Ours(sizes, plain, *ours[2:], kind="par_inject", dropout=0.0),
        "prefix_peer": Prefixes(sizes, pictures, tokens, int(lengths.max())),
    }
    told |= rates(arguments.repeats, **par_inject)
    sides |= par_inject

    medians = {name: statistics.median(values) for name, values in told.items()}
    for name, side in sides.items():
        low, high = min(told[name]), max(told[name])
        print(
            f"{name:<12} {medians[name]:8.2f} captions a second ({low:.2f} to {high:.2f})"
            f"   compile {side.compile_seconds:5.1f} s"
        )
    compiled = {name: side.compile_seconds for name, side in sides.items()}
    result = {
        "name": "training",
        "ratio": medians["ours"] / medians["tutorial"],
        "ours": medians["ours"],
        "peer": medians["tutorial"],
        "unit": "captions a second",
        "ratios": [round(a / b, 2) for a, b in zip(told["ours"], told["tutorial"])],
        "ours_512": medians["ours_512"],
        "ratio_512": medians["ours_512"] / medians["tutorial"],
        "ours_dot": medians["ours_dot"],
        "ratio_dot": medians["ours_dot"] / medians["tutorial"],
        "compile_ours": compiled["ours"],
        "compile_peer": compiled["tutorial"],
        "compile_ratio": compiled["tutorial"] / compiled["ours"],
        "prefix_ours": medians["prefix_ours"],
        "prefix_peer": medians["prefix_peer"],
        "prefix_ratio": medians["prefix_ours"] / medians["prefix_peer"],
        "prefix_ratios": [round(a / b, 2) for a, b in zip(told["prefix_ours"], told["prefix_peer"])],
    }
    shapes = {
        **asdict(sizes),
        "ours_captions": math.prod(batches[0].shape[:2]),
        "ours_tokens": [tokens.shape[2] for tokens in batches],
        "peer_captions": B,
        "peer_tokens": arguments.padded,
        "prefix_captions": len(tokens),
        "prefix_samples": int((expanded - 1).sum()),
        "prefix_tokens": int(lengths.max()) - 1,
    }
    result = {k: round(v, 2) if isinstance(v, float) else v for k, v in result.items()}
    result |= {"precision": computed_in, "repeats": arguments.repeats, "shapes": shapes}
    print(json.dumps({**result, "commit": provenance.git_commit()}))


if __name__ == "__main__":
    main()
