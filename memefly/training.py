"""Trains a caption network: input, loss, loop, schedule, checkpoints, early stopping.

    >>> result = train(examples, standardizer, vocabulary, NetworkConfig(), TrainingConfig(epochs=10), checkpoints)
    >>> result.network, result.metrics["bleu4"]

Teacher forcing with cross-entropy (Show, Attend and Tell, arXiv 1502.03044) and its doubly stochastic attention
penalty, label smoothing (arXiv 1512.00567), AdamW (arXiv 1711.05101) with linear warm-up and cosine decay. After each
epoch the `val` captions are decoded freely and scored; training stops when BLEU-4 no longer rises, and the best
weights are returned.

Every random choice follows from the seed and the step it is made at: the order of pictures from (seed, epoch), dropout
from (seed, step). So training that was killed and started again goes the way it would have gone.

Shapes: P pictures of a batch, C captions of a picture in it, B = P * C captions, T tokens, V words, L positions.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf
import tf_keras
from pydantic import BaseModel, ConfigDict, Field

from memefly import networks
from memefly.decoding import greedy_search
from memefly.errors import TrainingError
from memefly.metrics import score
from memefly.networks import Network, NetworkConfig
from memefly.standardize import Standardizer
from memefly.text import PAD_ID, Vocabulary

log = logging.getLogger(__name__)

BEST = "best"


class TrainingConfig(BaseModel):
    """The recipe. `memefly run --set training.KEY=VALUE` changes a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(20, ge=1, description="passes over the captions at most")
    max_steps: int | None = Field(None, ge=1, description="steps at most; None: as epochs say")
    pictures: int = Field(13, ge=1, description="pictures a batch; 13 with 5 captions each is a batch of 65")
    captions_per_picture: int = Field(5, ge=1, description="captions of a picture in one batch at most")
    learning_rate: float = Field(1e-3, gt=0, description="at its peak")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: float = Field(5.0, gt=0, description="global gradient norm")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    attention_penalty: float = Field(0.5, ge=0, description="weight of the doubly stochastic term")
    patience: int = Field(4, ge=1, description="epochs without a better BLEU-4 before training stops")
    val_pictures: int = Field(500, ge=1, description="pictures of `val` decoded after an epoch at most")
    shuffle_buffer: int = Field(512, ge=1, description="pictures in memory to draw from; about 256 KiB each")
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints; each epoch ends with one too")
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """Where the transformed Examples are: TFRecord files by split, and the shape that features have."""

    train: Sequence[str]
    val: Sequence[str]
    feature_shape: tuple[int, int, int]
    max_length: int


@dataclass
class TrainingResult:
    network: Network
    metrics: dict[str, float]  # of the best epoch, on `val`
    history: list[dict] = field(default_factory=list)  # one a finished epoch


# --- input ------------------------------------------------------------------------------------------------------------


def read(files: Sequence[str], examples: Examples) -> tf.data.Dataset:
    """Transformed Examples in file order: features float16 (h, w, D), tokens int32 (n, T), captions string (n,)."""
    spec = {
        "features": tf.io.FixedLenFeature([], tf.string),
        "tokens": tf.io.RaggedFeature(tf.int64),
        "captions": tf.io.RaggedFeature(tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
    }

    def parse(serialized):
        one = tf.io.parse_single_example(serialized, spec)
        return {
            "features": tf.reshape(tf.io.decode_raw(one["features"], tf.float16), examples.feature_shape),
            "tokens": tf.reshape(tf.cast(one["tokens"], tf.int32), [-1, examples.max_length]),
            "captions": one["captions"],
            "image": one["image"],
        }

    return _records(files).map(parse, num_parallel_calls=2, deterministic=True)


def _records(files: Sequence[str]) -> tf.data.Dataset:
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    return tf.data.TFRecordDataset(sorted(files), compression_type=compression)


def count_groups(examples: Examples, captions_per_picture: int) -> list[int]:
    """For r = 0, 1, …: how many pictures of `train` have an r-th group of `captions_per_picture` captions."""
    spec = {"tokens": tf.io.RaggedFeature(tf.int64)}
    rows = _records(examples.train).map(
        lambda s: tf.size(tf.io.parse_single_example(s, spec)["tokens"]) // examples.max_length, num_parallel_calls=2
    )
    counts: list[int] = []
    for n in rows.as_numpy_iterator():
        groups = math.ceil(int(n) / captions_per_picture)
        counts.extend([0] * (groups - len(counts)))
        for r in range(groups):
            counts[r] += 1
    return counts


def batches(examples: Examples, config: TrainingConfig, groups: int, epoch: int) -> tf.data.Dataset:
    """One epoch, in an order that (seed, epoch) decides; streams, holding `shuffle_buffer` pictures in memory.

    A picture with more than C captions returns in later passes over the files with the next C, so that the captions
    of one picture do not crowd a batch. Elements: features float16 (P, h, w, D), tokens int32 (P, C, T') cut to the
    longest caption of the batch; where a picture has fewer than C captions left, the rest is all padding.
    """
    C = config.captions_per_picture
    seed = hash_seed(config.seed, epoch)

    def group(one, index, r):
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(one["tokens"])[0]), [seed, index])
        tokens = tf.gather(one["tokens"], order)[r * C : (r + 1) * C]  # (≤ C, T)
        return one["features"], tf.pad(tokens, [[0, C - tf.shape(tokens)[0]], [0, 0]])  # (C, T)

    def one_pass(r):
        pictures = read(examples.train, examples).enumerate()
        pictures = pictures.filter(lambda _, one: tf.shape(one["tokens"])[0] > tf.cast(r, tf.int32) * C)
        return pictures.map(lambda i, one: group(one, tf.cast(i, tf.int32), tf.cast(r, tf.int32)))

    def trim(features, tokens):
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(tf.not_equal(tokens, PAD_ID), tf.int32), axis=-1))
        return features, tokens[..., :longest]

    # Concatenated, not flat-mapped over a range: each pass then fills the buffer as the one before it drains.
    stream = tf.data.Dataset.range(groups).flat_map(one_pass)
    stream = stream.shuffle(config.shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
    return stream.batch(config.pictures).map(trim, num_parallel_calls=2, deterministic=True).prefetch(2)


def hash_seed(seed: int, salt: int) -> int:
    """A 31-bit seed that no nearby (seed, salt) shares."""
    import hashlib

    return int.from_bytes(hashlib.sha256(f"{seed}/{salt}".encode()).digest()[:4], "big") >> 1


# --- loss -------------------------------------------------------------------------------------------------------------


def caption_loss(
    logits: tf.Tensor, alphas: tf.Tensor, tokens: tf.Tensor, config: TrainingConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss and its share of cross-entropy, both means over real tokens.

    logits float32 (real tokens, V), alphas float32 (B, T - 1, L), tokens int32 (P, C, T).
    """
    targets = tf.reshape(tokens[..., 1:], [-1, tf.shape(tokens)[-1] - 1])  # (B, T-1)
    real = tf.not_equal(targets, PAD_ID)
    targets = tf.boolean_mask(targets, real)  # (real tokens,)
    smoothing = config.label_smoothing
    log_probs = tf.nn.log_softmax(logits)
    right = tf.gather(log_probs, targets, batch_dims=1)
    cross_entropy = -tf.reduce_mean((1 - smoothing) * right + smoothing * tf.reduce_mean(log_probs, axis=1))
    # Doubly stochastic attention: over a caption, every position should be looked at about once.
    seen = tf.reduce_sum(alphas * tf.cast(real, tf.float32)[:, :, tf.newaxis], axis=1)  # (B, L)
    penalty = tf.reduce_mean(tf.boolean_mask((1 - seen) ** 2, real[:, 0]))  # of captions that are there
    return cross_entropy + config.attention_penalty * penalty, cross_entropy


# --- loop -------------------------------------------------------------------------------------------------------------


class _Progress(tf.train.experimental.PythonState):
    """How far training is; saved in the same checkpoint as the weights, so that the two never disagree."""

    def __init__(self):
        self.epoch, self.step_in_epoch, self.bad_epochs = 0, 0, 0
        self.best: dict = {}
        self.history: list[dict] = []

    def serialize(self) -> str:
        return json.dumps(vars_of(self))

    def deserialize(self, value: str) -> None:
        for key, stored in json.loads(value).items():
            setattr(self, key, stored)


def vars_of(progress: _Progress) -> dict:
    return {k: getattr(progress, k) for k in ("epoch", "step_in_epoch", "bad_epochs", "best", "history")}


def train(
    examples: Examples,
    standardizer: Standardizer,
    vocabulary: Vocabulary,
    network_config: NetworkConfig,
    config: TrainingConfig,
    checkpoints: str | Path,
    on_event: Callable[[str, dict], None] = lambda name, values: None,
) -> TrainingResult:
    """Trains, or goes on where `checkpoints` says an earlier call with the same arguments was stopped.

    `on_event` hears ("start", …), ("step", …) now and then, ("epoch", …) with metrics and sample captions.
    Raises `TrainingError` where there is nothing to train on or the loss is no longer finite.
    """
    groups = count_groups(examples, config.captions_per_picture)
    if not groups:
        raise TrainingError("the train split has no captions; check data.splits and the data set's own splits")
    steps_an_epoch = math.ceil(sum(groups) / config.pictures)
    steps = min(config.max_steps or math.inf, config.epochs * steps_an_epoch)
    network = networks.build(network_config, len(vocabulary), examples.feature_shape, config.seed)
    optimizer = tf_keras.optimizers.AdamW(
        tf_keras.optimizers.schedules.CosineDecay(
            config.learning_rate * 0.01,
            decay_steps=max(1, steps - round(config.warmup * steps)),
            alpha=0.01,
            warmup_target=config.learning_rate,
            warmup_steps=round(config.warmup * steps),
        ),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
    )
    variables = network.trainable_variables
    optimizer.build(variables)
    progress = _Progress()
    checkpoint = tf.train.Checkpoint(network=network, optimizer=optimizer, progress=progress)
    latest = tf.train.CheckpointManager(checkpoint, str(checkpoints), max_to_keep=1)
    best = tf.train.Checkpoint(network=network)
    best_path = str(Path(checkpoints) / BEST)
    if latest.restore_or_initialize():
        log.info("resumed at step %d from %s", optimizer.iterations.numpy(), latest.latest_checkpoint)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *examples.feature_shape], tf.float16),
            tf.TensorSpec([None, None, None], tf.int32),
        ],
        autograph=False,  # nothing here branches on tensors, and converting the optimizer takes seconds
    )
    def step(features, tokens):
        noise = (config.seed, tf.cast(optimizer.iterations, tf.int32))
        with tf.GradientTape() as tape:
            logits, alphas = network.teacher_forced(standardizer(features), tokens, training=True, noise=noise)
            loss, cross_entropy = caption_loss(logits, alphas, tokens, config)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss, cross_entropy

    decode = tf.function(
        lambda features: greedy_search(network, standardizer(features), examples.max_length - 1),
        input_signature=[tf.TensorSpec([None, *examples.feature_shape], tf.float16)],
        autograph=False,
    )
    on_event("start", {"steps": steps, "steps_an_epoch": steps_an_epoch, "parameters": _size(variables)})
    done = int(optimizer.iterations.numpy())
    while done < steps and progress.bad_epochs < config.patience:
        started, captions, losses = time.monotonic(), 0, []
        for features, tokens in batches(examples, config, len(groups), progress.epoch).skip(progress.step_in_epoch):
            loss, cross_entropy = step(features, tokens)
            done, progress.step_in_epoch = done + 1, progress.step_in_epoch + 1
            captions += int(tf.math.count_nonzero(tokens[..., 0]))
            losses.append(float(cross_entropy))
            if not math.isfinite(float(loss)):
                raise TrainingError(
                    f"the loss is {float(loss)} at step {done}; try a smaller training.learning_rate than "
                    f"{config.learning_rate}"
                )
            if done % 20 == 0:
                rate = float(optimizer.learning_rate.numpy())
                on_event("step", {"step": done, "steps": steps, "loss": float(loss), "learning_rate": rate})
            if done >= steps:
                break
            if done % config.checkpoint_steps == 0:
                latest.save()
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        metrics, samples = validate(decode, examples, vocabulary, config)
        values = {
            "epoch": progress.epoch,
            "step": done,
            "loss": sum(losses) / max(1, len(losses)),
            "learning_rate": float(optimizer.learning_rate.numpy()),
            "seconds": time.monotonic() - started,
            "captions_per_second": captions / max(1e-9, time.monotonic() - started),
            **{f"val_{k}": v for k, v in metrics.items()},
        }
        progress.history.append(values)
        if not progress.best or metrics["bleu4"] > progress.best["bleu4"]:
            progress.best, progress.bad_epochs = {**metrics, "epoch": progress.epoch, "step": done}, 0
            best.write(best_path)
        else:
            progress.bad_epochs += 1
        latest.save()
        on_event("epoch", {**values, "best_bleu4": progress.best["bleu4"], "samples": samples})
    best.read(best_path).assert_existing_objects_matched()
    return TrainingResult(network, dict(progress.best), list(progress.history))


def validate(decode, examples: Examples, vocabulary: Vocabulary, config: TrainingConfig) -> tuple[dict, list[dict]]:
    """Free-running greedy captions of `val`: metrics, and the first eight with picture and references."""
    references, hypotheses, samples = [], [], []
    for one in _val_batches(examples, config):
        for ids, captions, image in zip(decode(one["features"]).numpy(), one["captions"].numpy(), one["image"].numpy()):
            hypotheses.append(vocabulary.decode(ids))
            references.append([c.decode("utf-8") for c in captions])
            if len(samples) < 8:
                samples.append({"image": image, "caption": hypotheses[-1], "references": references[-1]})
    if not hypotheses:
        raise TrainingError("the val split has no pictures to stop on; check data.splits and the data set's own splits")
    return score(references, hypotheses), samples


def _val_batches(examples: Examples, config: TrainingConfig) -> Iterator[dict]:
    pictures = read(examples.val, examples).take(config.val_pictures)
    return iter(pictures.ragged_batch(64))


def _size(variables) -> int:
    return sum(int(tf.size(v)) for v in variables)
