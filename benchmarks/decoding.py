"""How fast captions are decoded: a beam in one graph against one in Python, and the latency of a single picture.

    python -m benchmarks.decoding [--repeats 5] [--small]

The peer, re-implemented, is how the original memefly looked for captions (BloomTech-Labs/memefly-ds, `beam_search.py`):
a Keras model from a picture's vector and a padded prefix to the next word's probabilities, and one `model.predict` for
each hypothesis at each step. Ours is `memefly.decoding` over our par-inject network, which is the same mathematics. The
rules of the search are ours on both sides, so that both find the same captions; `check_search` holds them to it. The
peer ranks words with NumPy where the original went through them one by one. It is slow, so it gets a few pictures at a
time where ours gets a batch.

Latency is that of our networks as they are by default, words sharing one matrix, features in hand: one picture, beam 3,
20 tokens, in TensorFlow's graph, there with words and phrases that may not be said (`latency_ms_blocked`), and as
LiteRT reads it from an eight-bit model (`memefly.exported.lite`). The weights are random and `</s>` is held down, so
that decoding goes on to the last token.

What a network costs, and choosing among candidates, are told as ratios: captions a second of the attention network to
those of a transformer, and of ensembles of both, in a batch and alone; the time of eight samples of which one is said,
ranked by what the picture adds (`memefly.reranking`), to that of one sample, of the transformer.

All sides take turns in each of `--repeats` rounds; told are medians.

Shapes: P pictures, K beams, T tokens, h * w positions, D feature channels, V words.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from benchmarks import training
from benchmarks.training import Sizes, our_network
from memefly import provenance
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.encoders.standardize import Standardizer
from memefly.exported import lite
from memefly.metrics.form import DANGLING
from memefly.networks import Network
from memefly.safety.config import LISTED, SafetyConfig
from memefly.safety.constraint import Blocked, constrain
from memefly.text import END_ID, PAD_ID, RESERVED_TOKENS, START_ID, UNKNOWN_ID

PENALTY = 0.7


def our_search(
    network: Network, config: DecodingConfig, pictures: int, sizes: Sizes, dangling=(), blocked: Blocked | None = None
) -> Callable:
    """Features (P, h, w, D) to captions, as one graph of fixed shapes."""
    return tf.function(
        lambda features: decode(network, features, config, dangling, blocked),
        input_signature=[tf.TensorSpec([pictures, *sizes.feature_shape], tf.float32)],
        autograph=False,
    )


# --- peer ---------------------------------------------------------------------------------------------------------


class Hypothesis(NamedTuple):
    tokens: tuple[int, ...]  # <s> first
    log_prob: float = 0.0

    @property
    def finished(self) -> bool:
        return self.tokens[-1] == END_ID

    @property
    def score(self) -> float:
        return self.log_prob / max(1, len(self.tokens) - 1) ** PENALTY


def python_search(model: tf_keras.Model, picture: np.ndarray, beam: int, max_length: int) -> list[Hypothesis]:
    """A picture's vector (D,) to its best hypotheses, best first, with a `model.predict` for each prefix."""
    hypotheses = [Hypothesis((START_ID,))]
    for t in range(max_length):
        if all(h.finished for h in hypotheses):
            break
        candidates = [h for h in hypotheses if h.finished]
        for hypothesis in hypotheses:
            if hypothesis.finished:
                continue
            prefix = training.pad_front(np.array(hypothesis.tokens, np.int32), max_length)
            with np.errstate(divide="ignore"):
                log_probs = np.log(model.predict([picture[None], prefix[None]], verbose=0)[0])  # (V,)
            log_probs[[PAD_ID, START_ID, UNKNOWN_ID]] = -np.inf
            words = [END_ID] if t == max_length - 1 else np.argsort(-log_probs)[:beam]
            candidates += [
                Hypothesis((*hypothesis.tokens, int(word)), hypothesis.log_prob + float(log_probs[word]))
                for word in words
            ]
        hypotheses = sorted(candidates, key=lambda h: -h.score)[:beam]
    return hypotheses


# --- sides --------------------------------------------------------------------------------------------------------


class BeamSearches:
    """Both searches with the same weights, and what they found last."""

    def __init__(self, sizes: Sizes, features: np.ndarray, beam: int, max_length: int, few: int, noise: float):
        network = our_network(sizes, kind="par_inject", dropout=0.0)
        training.disturb(network, noise)
        config = DecodingConfig(
            beam=beam, max_length=max_length, length_penalty=PENALTY, block_ngram=0, min_length=0, dangling=True
        )
        self._search = our_search(network, config, len(features), sizes)
        self._features, self._vectors = (
            tf.constant(features),
            features.mean(axis=(1, 2))[:few],
        )  # (P, h, w, D), (few, D)
        self._model = training.prefix_model(sizes, max_length)
        self._beam, self._max_length = beam, max_length
        training.copy_weights(network, self._model)

    def ours(self) -> int:
        self.found = self._search(self._features)
        return len(self.found.tokens.numpy())

    def peer(self) -> int:
        self.peer_found = [python_search(self._model, v, self._beam, self._max_length) for v in self._vectors]
        return len(self.peer_found)

    def same(self) -> float:
        """The share of the peer's captions, all hypotheses of a picture, that are ours too, with the same scores."""
        found = []
        for tokens, scores, hypotheses in zip(self.found.tokens.numpy(), self.found.scores.numpy(), self.peer_found):
            for ids, score, hypothesis in zip(tokens, scores, hypotheses, strict=True):
                same = tuple(ids[ids != PAD_ID]) == hypothesis.tokens[1:]
                found.append(same and abs(score - hypothesis.score) < 1e-3 * abs(score))
        return sum(found) / len(found)


def check_search() -> None:
    """Few words and few tokens, so that hypotheses end at different lengths and compete."""
    sizes = Sizes(embedding=6, units=8, vocabulary=12, feature_shape=(2, 2, 5))
    features = np.random.default_rng(0).standard_normal([3, *sizes.feature_shape], dtype=np.float32)
    searches = BeamSearches(sizes, features, beam=4, max_length=5, few=3, noise=0.7)
    searches.ours(), searches.peer()
    lengths = {len(h.tokens) for hypotheses in searches.peer_found for h in hypotheses}
    assert len(lengths) > 1, f"expected captions of several lengths to compare, got {lengths}"
    assert searches.same() == 1.0, f"the searches differ: {searches.found.tokens.numpy()} and {searches.peer_found}"


def endless(sizes: Sizes, **network) -> Network:
    """A network of random weights that goes on to the last token."""
    made = our_network(sizes, tie_weights=True, **network)
    for member in getattr(made, "members", [made]):
        member.words.bias.assign(-1e3 * tf.one_hot(END_ID, sizes.vocabulary))
    return made


class Latency:
    """One picture over and over through a network of default sizes."""

    def __init__(self, sizes: Sizes, config: DecodingConfig, calls: int, **network):
        network = endless(sizes, **network)
        # As many words that may not come last as there are.
        dangling = range(len(RESERVED_TOKENS), len(RESERVED_TOKENS) + len(DANGLING))
        self._calls, self.milliseconds = calls, []
        self._features = tf.random.stateless_normal([1, *sizes.feature_shape], [0, 0])
        self._search = self._prepared(network, config, dangling, sizes)
        for _ in range(10):
            tokens = self._search()
        assert (tokens[..., -1] == END_ID).all(), "expected captions of full length"

    def _prepared(self, network: Network, config: DecodingConfig, dangling, sizes: Sizes) -> Callable[[], np.ndarray]:
        search = our_search(network, config, 1, sizes, dangling)
        return lambda: search(self._features).tokens.numpy()

    def __call__(self) -> int:
        for _ in range(self._calls):
            start = time.perf_counter()
            self._search()
            self.milliseconds.append(1e3 * (time.perf_counter() - start))
        return self._calls


class Batch:
    """A batch of pictures over and over through a network of default sizes; a call returns how many they are."""

    def __init__(self, sizes: Sizes, config: DecodingConfig, pictures: int, calls: int = 1, **network):
        self._features = tf.random.stateless_normal([pictures, *sizes.feature_shape], [0, 0])
        self._search, self._calls = our_search(endless(sizes, **network), config, pictures, sizes), calls
        self()

    def __call__(self) -> int:
        for _ in range(self._calls):
            tokens = self._search(self._features).tokens.numpy()
        return self._calls * len(tokens)


TRANSFORMER = {"kind": "transformer", "heads": 4}
KINDS = {
    "attention": {},
    "transformer": TRANSFORMER,
    "attention_x3": {"members": 3},
    "transformer_x3": {**TRANSFORMER, "members": 3},
}


def costs(sizes: Sizes, pictures: int, calls: int, repeats: int, tokens: int) -> dict[str, dict[str, float]]:
    """How much slower than the attention network each kind is, and eight candidates than one."""
    search = DecodingConfig(beam=3, max_length=tokens)
    kinds = {name: Batch(sizes, search, pictures, calls, **network) for name, network in KINDS.items()}
    sample = {"temperature": 1.0, "min_p": 0.02, "max_length": tokens, "beam": 1}
    chosen = {"candidates": 8, "mmi": 1.0, "repetition": 10.0, "difference": 5.0}
    one = Batch(sizes, DecodingConfig(**sample), pictures, calls, **TRANSFORMER)
    eight = Batch(sizes, DecodingConfig(**sample, **chosen), pictures, calls, **TRANSFORMER)
    told = training.rates(repeats, **kinds, one=one, eight=eight)

    def ratio(slow: str, fast: str) -> float:
        return round(statistics.median(a / b for a, b in zip(told[fast], told[slow])), 2)

    return {
        "of_attention": {name: ratio(name, "attention") for name in list(KINDS)[1:]},
        "of_one_sample": {"eight_candidates": ratio("eight", "one")},
        "captions_a_second": {name: round(statistics.median(values), 2) for name, values in told.items()},
    }


class BlockedLatency(Latency):
    """The same, kept from the words and phrases of every list (`memefly.safety`), whose words are all in the
    vocabulary."""

    def _prepared(self, network: Network, config: DecodingConfig, dangling, sizes: Sizes) -> Callable[[], np.ndarray]:
        lists = SafetyConfig(categories=LISTED).lists()
        theirs = sorted({word for phrase in lists.phrases for word in phrase.words})
        words = [*RESERVED_TOKENS, *theirs[: sizes.vocabulary // 2]]
        words += [f"word{i}" for i in range(len(words), sizes.vocabulary)]
        blocked = constrain(words, lists)
        assert blocked.words and (blocked.has_phrases or len(theirs) > sizes.vocabulary // 2)
        search = our_search(network, config, 1, sizes, dangling, blocked)
        return lambda: search(self._features).tokens.numpy()


class LiteLatency(Latency):
    """The same in LiteRT, weights in eight bits."""

    def _prepared(self, network: Network, config: DecodingConfig, dangling, sizes: Sizes) -> Callable[[], np.ndarray]:
        depth = sizes.feature_shape[-1]
        as_it_is = Standardizer(np.zeros(depth, np.float32), np.ones(depth, np.float32))
        self._flatbuffer = lite.search_of(
            network, as_it_is, config, sizes.feature_shape, dangling=dangling
        )  # it is not copied
        self._interpreter = lite.Interpreter(model_content=self._flatbuffer, num_threads=os.cpu_count())
        search, features = self._interpreter.get_signature_runner(), self._features.numpy()
        return lambda: search(features=features)["tokens"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats", type=training.at_least_five, default=5, help="rounds in which all sides take turns"
    )
    parser.add_argument("--pictures", type=int, default=32, help="in a batch of ours")
    parser.add_argument("--peer-pictures", type=int, default=1, help="of these, how many the peer captions in a round")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=12, help="of a caption at most, the </s> counted")
    parser.add_argument("--calls", type=int, default=100, help="of each network, for its latency")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    arguments = parser.parse_args()
    sizes, rng = (training.SMALL if arguments.small else Sizes()), np.random.default_rng(arguments.seed)
    check_search()

    features = rng.standard_normal([arguments.pictures, *sizes.feature_shape], dtype=np.float32)
    searches = BeamSearches(sizes, features, arguments.beam, arguments.tokens, arguments.peer_pictures, noise=0.05)
    searches.ours(), searches.peer()  # warm-up
    told = training.rates(arguments.repeats, ours=searches.ours, peer=searches.peer)
    ours, peer = statistics.median(told["ours"]), statistics.median(told["peer"])
    lengths = (searches.found.tokens.numpy()[:, 0] != PAD_ID).sum(axis=-1)
    for name, values in told.items():
        print(f"{name:<5} {statistics.median(values):9.3f} captions a second ({min(values):.3f} to {max(values):.3f})")
    print(f"the same captions on both sides: {searches.same():.0%}; {lengths.mean():.1f} tokens in the mean")

    single = DecodingConfig(beam=3, max_length=20)
    latencies = {
        "latency_ms_additive": Latency(sizes, single, max(1, arguments.calls // arguments.repeats)),
        "latency_ms_blocked": BlockedLatency(sizes, single, max(1, arguments.calls // arguments.repeats)),
        "latency_ms_dot": Latency(
            sizes, single, max(1, arguments.calls // arguments.repeats), attention="dot", heads=4
        ),
        "latency_ms_lite": LiteLatency(sizes, single, max(1, arguments.calls // arguments.repeats)),
    }
    training.rates(arguments.repeats, **latencies)
    for name, latency in latencies.items():
        low, middle, high = np.percentile(latency.milliseconds, [10, 50, 90])
        print(f"{name:<20} {middle:6.1f} (10 % below {low:.1f}, 10 % above {high:.1f})")
    many = costs(sizes, arguments.pictures, 1, arguments.repeats, single.max_length)
    alone = costs(sizes, 1, max(1, arguments.calls // arguments.repeats), arguments.repeats, single.max_length)
    for pictures, found in ((arguments.pictures, many), (1, alone)):
        print(f"{pictures} at a time, of the time of attention: {found['of_attention']}; of one sample's: ", end="")
        print(found["of_one_sample"])
    result = {
        "name": "decoding",
        "ratio": round(ours / peer, 1),
        "ours": round(ours, 2),
        "peer": round(peer, 3),
        "unit": "captions a second",
        "ratios": [round(a / b, 1) for a, b in zip(told["ours"], told["peer"])],
        **{name: round(statistics.median(latency.milliseconds), 2) for name, latency in latencies.items()},
        "batch": many,
        "alone": alone,
        "same_captions": searches.same(),
        "tokens_mean": round(float(lengths.mean()), 2),
        "repeats": arguments.repeats,
        "shapes": {
            **asdict(sizes),
            "pictures": arguments.pictures,
            "peer_pictures": arguments.peer_pictures,
            "beam": arguments.beam,
            "tokens": arguments.tokens,
            "latency": {"pictures": 1, "beam": single.beam, "tokens": single.max_length},
        },
        "commit": provenance.git_commit(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
