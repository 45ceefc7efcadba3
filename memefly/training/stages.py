"""The stages of training and what a step of each does: cross-entropy, self-critical, fine-tuning.

Shapes: P pictures of a batch, C captions of a picture in it (S samples), B = P * C captions, T tokens, L positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from memefly import encoders, images, networks
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.encoders import Encoder, precision
from memefly.encoders.standardize import Standardizer
from memefly.errors import TrainingError
from memefly.likelihood import Likelihood
from memefly.metrics.cider import CiderScorer
from memefly.networks import Network, NetworkConfig, ensemble
from memefly.text import END_ID, PAD_ID, START_ID, Vocabulary
from memefly.training import loop, losses
from memefly.training.averaging import MovingAverage
from memefly.training.config import TrainingConfig
from memefly.training.distribution import barrier, is_chief, make_strategy, replicated
from memefly.training.inputs import ALL, Examples, batches, count_groups, hash_seed, training_references
from memefly.training.interpolation import interpolate
from memefly.training.loop import Stage
from memefly.training.optimizer import adamw
from memefly.training.validation import Shown, greedy_decoder, validate

_PICTURES = tf.TensorSpec([None], tf.string)  # encoded, (P,)
_TOKENS = tf.TensorSpec([None, None, None], tf.int32)  # (P, C, T)


@dataclass
class TrainingResult:
    network: Network
    metrics: dict  # of the best weights, on `val`; "stage" and "epoch" say where they come from
    history: list[dict] = field(default_factory=list)  # one a finished epoch, over all stages
    encoder: Encoder | None = None  # the tuned one, where its top was trained


def train(
    examples: Examples,
    standardizer: Standardizer,
    vocabulary: Vocabulary,
    network_config: NetworkConfig,
    config: TrainingConfig,
    checkpoints: str | Path,
    on_event: Callable[[str, dict], None] = lambda name, values: None,
    encoder: Encoder | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> TrainingResult:
    """Trains, or goes on where `checkpoints` says an earlier call with the same arguments was stopped.

    `on_event` hears ("start", …) of each stage, ("step", …) now and then, ("epoch", …) with metrics and sample
    captions. `encoder` is what fine-tuning trains the top of; without that stage it may be None. `strategy` is what
    `make_strategy` gave, where it had to be called before anything else (`multi_worker`); None: made here.
    Raises `TrainingError` where there is nothing to train on, workers are not to be had, or the loss is not finite.
    """
    strategy = strategy or make_strategy(config.strategy)
    shares = _shares(examples, config)
    with precision.computing_in(config.precision):
        with strategy.scope():
            network = networks.build_trained(network_config, len(vocabulary), examples.feature_shape, config.seed)
        training = _Training(examples, standardizer, vocabulary, config, network, strategy, shares, Path(checkpoints))
        stages = [training.cross_entropy]
        if config.self_critical.epochs:
            stages.append(training.self_critical)
        if config.fine_tuning.epochs:
            if encoder is None:
                raise TrainingError("fine_tuning.epochs is set, but train() was given no encoder to tune")
            stages.append(lambda: training.fine_tuning(encoder))
        history: list[dict] = []
        metrics: dict = {}
        for build in stages:
            stage = build()
            progress = loop.run(stage, config, training.checkpoints / stage.name, on_event)
            history, metrics = history + progress.history, progress.best
        if network_config.ngram:
            network = interpolate(
                network, network_config.ngram, examples, training.shown, vocabulary, config.val_pictures
            )
            metrics = {**metrics, **training.judge_of(network)()[0]}
    tuned = encoders.tuned(training.tuned) if training.tuned else None
    return TrainingResult(network, dict(metrics), history, tuned)


class _Share(NamedTuple):
    """The pictures that a stage is trained on: a part of all, and what `count_groups` says of it."""

    part: tuple[float, float]
    groups: list[int]


def _shares(examples: Examples, config: TrainingConfig) -> dict[str, _Share]:
    """By stage. Raises `TrainingError` where one would have no pictures."""
    kept = config.self_critical.held_out if config.self_critical.epochs else 0.0
    parts = {"cross_entropy": (0.0, 1.0 - kept), "self_critical": (1.0 - kept, 1.0) if kept else ALL}
    if config.fine_tuning.epochs:
        parts["fine_tuning"] = ALL
    groups = {part: count_groups(examples, config.captions_per_picture, part) for part in set(parts.values())}
    if not any(groups.values()):
        raise TrainingError("the train split has no captions; check data.splits and the data set's own splits")
    if not all(groups.values()):
        raise TrainingError(
            f"training.self_critical.held_out is {kept:g}, which leaves a stage without pictures; take another share, "
            "or more pictures"
        )
    return {stage: _Share(part, groups[part]) for stage, part in parts.items()}


class _Training:
    """What the stages share."""

    def __init__(
        self, examples, standardizer, vocabulary, config: TrainingConfig, network, strategy, shares, checkpoints
    ):
        self.examples, self.standardizer, self.vocabulary, self.config = examples, standardizer, vocabulary, config
        self.network, self.strategy, self.shares, self.checkpoints = network, strategy, shares, checkpoints
        self.tuned: Encoder | None = None
        self._features_spec = tf.TensorSpec([None, *examples.feature_shape], tf.float16)
        self.shown = Shown("features", standardizer, self._features_spec)

    def _batches(self, share: _Share, epoch: int, **changes):
        config = self.config
        arguments: dict[str, Any] = {
            "part": share.part, "groups": len(share.groups), "captions": config.captions_per_picture,
            "pictures": config.pictures, "bucket": config.bucket, "flip": config.flip, "seed": config.seed,
        }  # fmt: skip
        return batches(self.examples, epoch=epoch, **(arguments | changes))

    def _stage(self, name, *, epochs, patience, pictures_an_epoch, pictures, rate, warmup, variables, step, signature,
               weights=None, features_of=None, batches_of, step_of):  # fmt: skip
        """A stage from a replica's loss: `step(noise, scalars, *batch) -> (loss, told)` under a gradient tape."""
        config, strategy = self.config, self.strategy
        steps_an_epoch = math.ceil(pictures_an_epoch / pictures)
        total = min(config.max_steps or math.inf, epochs * steps_an_epoch)
        with strategy.scope():
            optimizer = adamw(config, rate, total, warmup)
            optimizer.build(variables)
            average = MovingAverage(variables, config.average)

        def one(scalars, *batch):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            noise = (tf.cast(replica, tf.int32) * 7919 + config.seed, tf.cast(optimizer.iterations, tf.int32))
            with tf.GradientTape() as tape:
                loss, told = step(noise, tf.cast(optimizer.iterations, tf.float32) / total, scalars, *batch)
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
            return loss, told

        apply = replicated(strategy, one, average.update, [tf.TensorSpec([2], tf.float32), *signature])
        if features_of:
            self.shown = Shown("image", features_of, _PICTURES)
        return Stage(
            name=name,
            epochs=epochs,
            patience=patience,
            steps_an_epoch=steps_an_epoch,
            batches=batches_of,
            step=step_of(apply),
            validate=self.judge_of(self.network),
            optimizer=optimizer,
            average=average,
            weights=weights or loop.weights_of(self.network),
            is_chief=is_chief(strategy),
            barrier=lambda: barrier(strategy),
        )

    def judge_of(self, network: Network) -> Callable[[], tuple[dict, list[dict]]]:
        """What validates a network as the recipe says: see `validate`."""
        examples, shown, config = self.examples, self.shown, self.config
        decoder = greedy_decoder(network, shown.features_of, shown.signature, examples.max_length - 1)
        likelihood = None
        if config.stop_on == "bits_a_character":
            arguments = (shown.features_of, shown.signature, self.vocabulary, examples.spelling)
            likelihood = Likelihood(network, *arguments)
        return lambda: validate(
            decoder, examples, self.vocabulary, config.val_pictures, shown.source, likelihood=likelihood
        )

    # --- cross-entropy --------------------------------------------------------------------------------------------

    def cross_entropy(self) -> Stage:
        """Teacher forcing, as in Show, Attend and Tell (arXiv 1502.03044)."""
        config, share = self.config, self.shares["cross_entropy"]

        def step(noise, done, scalars, shown, tokens):
            features = without_some(self.standardizer(shown), config.without_picture, noise)
            return self._loss(features, tokens, losses.Counts(*tf.unstack(scalars)), noise, done)

        return self._stage(
            "cross_entropy",
            epochs=config.epochs,
            patience=config.patience,
            pictures_an_epoch=sum(share.groups),
            pictures=config.pictures,
            rate=config.learning_rate,
            warmup=config.warmup,
            variables=self.network.trainable_variables,
            step=step,
            signature=[self._features_spec, _TOKENS],
            batches_of=lambda epoch, skip: self._batches(share, epoch, skip=skip),
            step_of=_teacher_forcing,
        )

    def _loss(self, features, tokens, counts, noise, done):
        """Summed over the members of an ensemble, so that each is trained as it would be alone (only clipping sees the
        norm of all); told is their mean."""
        config, told = self.config, []
        for network, own in ensemble.each(self.network, noise):
            fed = self._scheduled(network, features, tokens, own, done) if config.scheduled_sampling else None
            logits, alphas = network.teacher_forced(features, tokens, fed=fed, training=True, noise=own)
            loss = losses.caption_loss(
                logits,
                alphas,
                tokens,
                counts,
                label_smoothing=config.label_smoothing,
                attention_penalty=config.attention_penalty if network.attends else 0.0,
            )
            told.append(loss)
        total, cross_entropies = zip(*told)
        return tf.add_n(total), tf.add_n(cross_entropies) / len(told)

    def _scheduled(self, network, features, tokens, noise, done):
        """Scheduled sampling (Bengio et al., arXiv 1506.03099) in parallel (Duckworth et al., 1906.04331): a share of
        the words fed, growing with the steps done, is drawn from what the network says in their place."""
        seeds = [tf.random.experimental.stateless_fold_in(tf.stack(noise), 1000 + i) for i in range(2)]
        logits, _ = network.teacher_forced(features, tokens, training=False, noise=noise)
        drawn = tf.random.stateless_categorical(logits, 1, seeds[0], dtype=tf.int32)[:, 0]  # (R,)
        real = tf.not_equal(tokens[..., 1:], PAD_ID)
        own = tf.scatter_nd(tf.where(real), tf.stop_gradient(drawn), tf.shape(real, tf.int64))  # (P, C, T-1)
        share = self.config.scheduled_sampling * done
        swap = real & (tf.random.stateless_uniform(tf.shape(real), seeds[1]) < share)
        return tf.concat([tokens[..., :1], tf.where(swap, own, tokens[..., 1:])], axis=-1)

    # --- self-critical --------------------------------------------------------------------------------------------

    def self_critical(self) -> Stage:
        """Makes its own captions likelier where their CIDEr is above a baseline (arXiv 1612.00563): the hypotheses of a
        beam search (1912.08226), or drawn ones. On pictures that the first stage has not learnt by heart, where some
        were held out for it."""
        config, stage, share = self.config, self.config.self_critical, self.shares["self_critical"]
        references = training_references(self.examples)
        scorer = CiderScorer([captions or [(END_ID,)] for captions in references])
        T = self.examples.max_length - 1
        plain = {"max_length": T, "min_length": 0, "block_ngram": 0, "dangling": True, "length_penalty": 0.0}
        sampled = DecodingConfig(beam=stage.samples, temperature=stage.temperature, **plain)
        greedy = DecodingConfig(beam=1, **plain)

        @tf.function(input_signature=[self._features_spec, tf.TensorSpec([None], tf.int32)], autograph=False)
        def draw(shown, seeds):
            features = self.standardizer(shown)
            tokens = decode(self.network, features, sampled, overrides={"seed": seeds}).tokens  # (P, S, T)
            if stage.baseline == "greedy":
                tokens = tf.concat([tokens, decode(self.network, features, greedy).tokens], axis=1)
            return tokens

        def reward(index: np.ndarray, tokens: np.ndarray) -> np.ndarray:
            """CIDEr float32 (P, S) of tokens (P, S, T); the </s> counts as a word, so that endings are learnt too."""
            return np.array(
                [[scorer.score(i, tuple(row[row != PAD_ID])) for row in rows] for i, rows in zip(index, tokens)],
                np.float32,
            )

        def step(noise, done, scalars, shown, tokens, advantages):
            logits, _ = self.network.teacher_forced(self.standardizer(shown), tokens, training=True, noise=noise)
            loss = losses.reward_loss(logits, tokens, advantages, losses.Counts(*tf.unstack(scalars)))
            return loss, loss

        def step_of(apply):
            def train_on(shown, tokens, index):
                number = int(built.optimizer.iterations.numpy())
                seeds = [hash_seed(config.seed, number * 1_000_003 + i) for i in range(len(index))]
                drawn = draw(shown, tf.constant(seeds, tf.int32)).numpy()
                rewards = reward(index.numpy(), drawn)
                if stage.baseline == "greedy":
                    drawn, rewards, baseline = drawn[:, :-1], rewards[:, :-1], rewards[:, -1:]
                else:
                    baseline = (rewards.sum(axis=1, keepdims=True) - rewards) / (stage.samples - 1)
                advantages = rewards - baseline
                if stage.written:
                    written = tokens.numpy()[..., 1:]
                    written = np.pad(
                        written, [(0, 0), (0, 0), (0, drawn.shape[-1] - written.shape[-1])], constant_values=PAD_ID
                    )
                    drawn = np.concatenate([drawn, written], axis=1)
                    shares = np.full(written.shape[:2], stage.written, np.float32)
                    advantages = np.concatenate([advantages, shares], axis=1)
                longest = int((drawn != PAD_ID).sum(axis=-1).max())
                starts = np.full((*drawn.shape[:2], 1), START_ID, np.int32)
                full = tf.constant(np.concatenate([starts, drawn[..., :longest]], axis=-1))
                scalars = tf.stack(losses.count(full))
                loss, _ = apply(scalars, shown, full, tf.constant(advantages))
                return float(loss), -float(rewards.mean()), rewards.size

            return train_on

        built = self._stage(
            "self_critical",
            epochs=stage.epochs,
            patience=stage.patience,
            pictures_an_epoch=share.groups[0],
            pictures=stage.pictures,
            rate=stage.learning_rate,
            warmup=0.0,
            variables=self.network.trainable_variables,
            step=step,
            signature=[self._features_spec, _TOKENS, tf.TensorSpec([None, None], tf.float32)],
            batches_of=lambda epoch, skip: self._batches(
                share, 10_000 + epoch, groups=1, pictures=stage.pictures, bucket=0, skip=skip
            ),
            step_of=step_of,
        )  # fmt: skip
        return built

    # --- fine-tuning ----------------------------------------------------------------------------------------------

    def fine_tuning(self, encoder: Encoder) -> Stage:
        """Cross-entropy on pictures, through the encoder, whose layers behind `behind` are trained with the network."""
        stage, share = self.config.fine_tuning, self.shares["fine_tuning"]
        top = encoders.unfreeze(encoder, stage.behind)
        self.tuned = encoder

        def features_of(pictures):
            features = encoder.trainable_features(images.preprocess_batch(pictures, encoder.image_size))
            return self.standardizer(features)

        def step(noise, done, scalars, shown, tokens):
            return self._loss(features_of(shown), tokens, losses.Counts(*tf.unstack(scalars)), noise, done)

        return self._stage(
            "fine_tuning",
            epochs=stage.epochs,
            patience=stage.patience,
            pictures_an_epoch=sum(share.groups),
            pictures=stage.pictures,
            rate=stage.learning_rate,
            warmup=0.0,
            variables=[*self.network.trainable_variables, *top],
            step=step,
            signature=[_PICTURES, _TOKENS],
            weights=loop.weights_of(self.network, top),
            features_of=features_of,
            batches_of=lambda epoch, skip: self._batches(
                share, 20_000 + epoch, pictures=stage.pictures, source="image", skip=skip
            ),
            step_of=_teacher_forcing,
        )


def without_some(features: tf.Tensor, share: float, noise: tuple) -> tf.Tensor:
    """Standardised features (P, h, w, D), zero for a share of the pictures, which is what is shown where there is no
    picture (as classifier-free guidance has it, Ho and Salimans, arXiv 2207.12598). `noise` as networks take it."""
    if not share:
        return features
    seed = tf.random.experimental.stateless_fold_in(tf.stack(noise), 2000)
    shown = tf.random.stateless_uniform([tf.shape(features)[0], 1, 1, 1], seed) >= share
    return tf.where(shown, features, 0.0)


def _teacher_forcing(apply):
    def train_on(shown, tokens, index):
        counts = losses.count(tokens)
        loss, cross_entropy = apply(tf.stack(counts), shown, tokens)
        return float(loss), float(cross_entropy), int(counts.captions)

    return train_on
