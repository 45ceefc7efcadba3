"""Captions from a network: greedy, beam and diverse beam search, and sampling, in one graph, batched.

    >>> decoded = decode(network, features, DecodingConfig(beam=3))
    >>> decoded.tokens[:, 0]                     # the best caption of every picture, int32 (B, T)

With `temperature` 0 the likeliest captions are searched for with a beam; a beam of 1 is greedy search, one that never
prunes is exhaustive. `groups` cuts the beam into groups that avoid each other's words (diverse beam search,
Vijayakumar et al., arXiv 1610.02424, Hamming diversity). With a temperature above 0 each place of the beam is a
sample of its own, drawn from words that are cut down one after another: the `top_k` likeliest (Fan et al.,
1805.04833), the nucleus `top_p` (Holtzman et al., 1904.09751), those that are likely beside the likeliest (`min_p`,
Nguyen et al., 2407.01082), and those that say about as much as is to be expected (`typical_p`, Meister et al.,
2202.00666). The same seed draws the same captions for a picture, whatever else is in its batch.

A hypothesis is scored by the sum of its log-probabilities over its number of tokens (the `</s>` counted) to the
power `length_penalty`: 0 is the plain sum, which favours short captions, 1 the mean. Finished hypotheses keep their
place in the beam and compete there with the growing ones by that score.

Always: every caption ends in `</s>` within `max_length`, and never says `<pad>`, `<s>` or `<unk>`. If wanted: no n-gram
twice (Paulus et al., 1705.04304), a least number of words, no article or preposition at the end, no word and no phrase
that is blocked (`memefly.safety.constraint`); `memefly.rules` has what looks back.

With `candidates`, so many are drawn or searched for, and the `beam` best of them are told, ranked by what the picture
adds, by repetition and so that they differ (`memefly.reranking`). `boxes` has every caption in so many text boxes.

A `prefix` is what captions begin with, whatever the rules say of it: hypotheses have no choice until it is said. Its
words count in lengths and scores.

Every knob may also come as a tensor (B,) in `overrides`, one value a picture, which is how the SavedModel's `decode`
signature works; a knob that is off in the configuration and not overridden costs nothing.

Shapes: B pictures, K beams, N = B * K hypotheses, T tokens, V words, L positions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from memefly import reranking
from memefly.decoding_config import KINDS, LONGEST_NGRAM, DecodingConfig
from memefly.networks import Network
from memefly.rules import NEVER, Pieces, Rules
from memefly.safety.constraint import Blocked
from memefly.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID

_BLOCK = 64  # words whose probabilities are added up before they are summed up one by one


# What `overrides` may hold, and as what.
KNOBS = {name: tf.int32 if kind is int else tf.float32 for name, kind in KINDS.items()}


class Decoded(NamedTuple):
    """Best first, by score or as candidates are ranked. `tokens` ends in </s> and is padded after it. A place that
    holds no caption scores below -1e6."""

    tokens: tf.Tensor  # int32 (B, K, T)
    scores: tf.Tensor  # float32 (B, K), length-normalised log-probabilities
    alphas: tf.Tensor | None  # float32 (B, K, T, L), where the network looked for each token; zero after </s>


def decode(
    network: Network,
    features: tf.Tensor,
    config: DecodingConfig,
    dangling: Sequence[int] = (),
    blocked: Blocked | None = None,
    *,
    pieces: Pieces | None = None,
    break_id: int | None = None,
    overrides: Mapping[str, tf.Tensor] | None = None,
    prefix: tf.Tensor | None = None,
    with_alphas: bool = False,
) -> Decoded:
    """Standardised features float32 (B, h, w, D) to K captions each. Graph op.

    `dangling`: ids that may not come last, unless the configuration allows it. `blocked`: what no caption may say,
    whatever the knobs are. `pieces`: what the tokens are, where they are pieces of words; the rules are about words.
    `break_id`: the token between two text boxes; without one all captions have one box.
    `overrides`: knobs as tensors (B,) of the types in `KNOBS`; K is then the largest `beam`, and T stays the
    configuration's, which bounds `max_length`.
    `prefix`: int32 (B, P), tokens that captions begin with, padded; what of them has no room before the </s> is not
    said. No piece that goes on with a word follows.
    """
    memory, state = network.encode(features)
    knobs = _Knobs(config, overrides or {})
    B, V, T = tf.shape(features)[0], network.vocabulary_size, config.max_length
    K, wide = knobs.widest(), knobs.width()
    slots = tf.range(K)  # (K,)
    open_slots = slots < wide  # (B, K) or (1, K)
    last_step = tf.minimum(knobs.column("max_length"), T) - 1  # (B, 1) or ()

    longest = LONGEST_NGRAM if knobs.overridden("block_ngram") else config.block_ngram
    ngram = knobs.column("block_ngram") if knobs.on("block_ngram") else None
    ends = () if config.dangling else dangling
    boxes = knobs.column("boxes") if knobs.on("boxes") and break_id is not None else None
    rules = Rules(V, ends, blocked, pieces, ngram, longest, knobs.column("min_length"), boxes, break_id)
    # What no hypothesis may say at a step, as log-probabilities to add: (T, 1, 1, V), or (T, B, 1, V).
    t = tf.reshape(tf.range(T), [T, 1, 1, 1])
    end = tf.one_hot(END_ID, V)  # (V,)
    never = [PAD_ID, START_ID, UNKNOWN_ID, *(blocked.words if blocked else ())]
    forbidden = tf.reduce_sum(tf.one_hot(never, V), axis=0)
    forbidden += _cast(t < knobs.block("min_length")) * end
    forbidden = tf.maximum(forbidden, _cast(tf.equal(t, last_step[..., tf.newaxis] - 1)) * rules.not_last)
    forbidden = tf.maximum(forbidden, _cast(tf.equal(t, 0)) * rules.not_first)
    # At the last step nothing but </s>, also where that may not be said: no caption then.
    forbidden = tf.where(t >= last_step[..., tf.newaxis], 4 * (1 - end), forbidden) * NEVER
    only_pad = (1.0 - tf.one_hot(PAD_ID, V)) * NEVER  # how a finished hypothesis goes on

    begun = _Prefix(prefix, B, T, rules.not_first) if prefix is not None else None

    rows = tf.range(B)[:, tf.newaxis] * K  # first hypothesis of every picture
    state = tf.nest.map_structure(lambda x: tf.repeat(x, K, axis=0), state)  # (N, …)
    # At the start all beams of a group are the same: only the first may be extended. Samples are all their own.
    group_size = tf.maximum(wide // knobs.column("groups"), 1)  # (B, 1) or ()
    first = tf.equal(slots % group_size, 0) | knobs.sampled
    log_probs = tf.broadcast_to(tf.where(first & open_slots, 0.0, NEVER), [B, K])
    # Words move to the left as more are said: what was said last has one place, whatever the step is.
    said = tf.concat([tf.fill([B, K, T], PAD_ID), tf.fill([B, K, 1], START_ID)], axis=2)  # (B, K, T + 1)
    loop = (
        tf.constant(0),
        state,
        said,
        log_probs,
        tf.zeros([B, K], tf.int32),  # lengths
        tf.ones([B, K], tf.bool),  # whether it grows
        tf.zeros([B, K, T if with_alphas else 0, network.positions]),  # alphas
        rules.start(B, K, T),
    )
    width = K if isinstance(K, int) else None
    shapes = (
        tf.TensorShape([]),
        tf.nest.map_structure(lambda x: tf.TensorShape([None, *(size or None for size in x.shape[1:])]), state),
        tf.TensorShape([None, width, T + 1]),
        *[tf.TensorShape([None, width])] * 3,
        tf.TensorShape([None, width, None, network.positions]),
        tf.nest.map_structure(lambda x: tf.TensorShape([None, width, *x.shape[2:]]), loop[-1]),
    )
    uniform = _uniform(knobs, B, K, T) if knobs.may_sample else None  # (B, K, T)

    def unfinished(t, state, said, log_probs, lengths, grows, alphas, carried):
        return (t < T) & tf.reduce_any(grows)

    def extend(t, state, said, log_probs, lengths, grows, alphas, carried):
        last = said[:, :, -1]
        logits, state, alpha = network.step(memory, state, tf.reshape(last, [-1]))
        told = logits if network.normalized else tf.nn.log_softmax(logits)
        step = tf.reshape(told, [B, K, V]) + forbidden[t]  # (B, K, V)
        step = rules.forbid(step, said, carried, last_step - t)
        if begun is not None:
            step = begun.force(step, tf.reshape(told, [B, K, V]), t, last_step)
        step = tf.where(grows[:, :, tf.newaxis], step, only_pad)
        longer = lengths + tf.cast(grows, tf.int32)  # (B, K)

        def searched():  # (B, K), an index into K * V each
            totals = log_probs[:, :, tf.newaxis] + step
            ranks = totals / _norm(longer, knobs.column("length_penalty"))[:, :, tf.newaxis]
            return _choose(ranks, knobs, slots, group_size)

        def drawn():
            return slots * V + _sample(step, uniform[:, :, t], knobs)

        chosen = knobs.where_sampled(drawn, searched)
        parent, token = chosen // V, chosen % V
        parent = rows + parent  # among all N
        state = tf.nest.map_structure(lambda x: tf.gather(x, tf.reshape(parent, [-1])), state)
        of_token = tf.gather(tf.reshape(step, [-1]), rows * V + chosen)
        log_probs = tf.gather(tf.reshape(log_probs, [-1]), parent) + of_token
        lengths = tf.gather(tf.reshape(longer, [-1]), parent)
        said = tf.gather(tf.reshape(said[:, :, 1:], [-1, T]), parent)
        said = tf.concat([said, tf.expand_dims(token, 2)], axis=2)
        if with_alphas:
            here = tf.expand_dims(tf.equal(tf.range(T), t), 1)  # (T, 1)
            grew = tf.gather(tf.reshape(grows, [-1]), parent)[:, :, tf.newaxis]
            alpha = tf.where(grew, tf.gather(alpha, parent), 0.0)  # (B, K, L)
            alphas = tf.gather(tf.reshape(alphas, [-1, T, network.positions]), parent)
            alphas = tf.where(here, alpha[:, :, tf.newaxis], alphas)
        carried = tf.nest.map_structure(lambda x: tf.gather(tf.reshape(x, [B * K, *x.shape[2:]]), parent), carried)
        carried = rules.after(carried, token)
        grows = (token != END_ID) & (token != PAD_ID)
        return t + 1, state, said, log_probs, lengths, grows, alphas, carried

    # A finished hypothesis' last token is padding; feeding it on is harmless, what follows is only padding again.
    steps, _, said, log_probs, lengths, _, alphas, _ = tf.while_loop(
        unfinished, extend, loop, shape_invariants=shapes, maximum_iterations=T, parallel_iterations=1
    )
    padded = tf.pad(said[:, :, 1:], [[0, 0], [0, 0], [0, T]], constant_values=PAD_ID)
    tokens = tf.gather(padded, T - steps + tf.range(T), axis=2)
    scores = log_probs / _norm(lengths, knobs.column("length_penalty"))
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    if knobs.on("candidates"):
        order = _of_candidates(network, features, tokens, log_probs, lengths, order, knobs, break_id)
    tokens, scores = (tf.gather(x, order, batch_dims=1) for x in (tokens, scores))
    if knobs.on("candidates"):  # those of another picture's beam are none of this one's
        scores = tf.where(tf.range(tf.shape(scores)[1]) < knobs.column("beam"), scores, NEVER)
    return Decoded(tokens, scores, tf.gather(alphas, order, batch_dims=1) if with_alphas else None)


class _Prefix:
    """Tokens that captions have to begin with, one for each of the first steps."""

    def __init__(self, tokens: tf.Tensor, B, T: int, not_first: tf.Tensor):
        self._tokens = tf.pad(tf.cast(tokens, tf.int32), [[0, 0], [0, T]], constant_values=PAD_ID)  # (B, P + T)
        self._length = tf.reduce_sum(tf.cast(tf.not_equal(self._tokens, PAD_ID), tf.int32), axis=1, keepdims=True)
        self._not_first = not_first * NEVER  # (V,)

    def force(self, step: tf.Tensor, told: tf.Tensor, t: tf.Tensor, last_step: tf.Tensor) -> tf.Tensor:
        """`step` (B, K, V), and where a token is given for step `t` nothing but that, as likely as it is `told`."""
        token = self._tokens[:, t]  # (B,)
        given = tf.not_equal(token, PAD_ID)[:, tf.newaxis] & (t < last_step)  # (B, 1)
        others = (1.0 - tf.one_hot(token, tf.shape(told)[2])) * NEVER  # (B, V)
        behind = tf.equal(self._length, t) & (t > 0)  # (B, 1)
        step += _cast(behind)[:, :, tf.newaxis] * self._not_first
        return tf.where(given[:, :, tf.newaxis], told + others[:, tf.newaxis], step)


def _of_candidates(
    network, features, tokens, log_probs, lengths, order, knobs: _Knobs, break_id: int | None
) -> tf.Tensor:
    """Those that are told, int32 (B, beam): chosen where there are candidates, as `order` (B, K) has it elsewhere."""
    chooses = knobs.column("candidates") > 0  # (B, 1) or ()

    def chosen():
        unseen = tf.zeros_like(log_probs)
        if knobs.on("mmi"):
            unseen = _where_any(
                knobs.column("mmi") > 0,
                lambda: reranking.without_picture(network, features, tokens),
                lambda: unseen,
                asked=knobs.overridden("mmi"),
            )
        weights = {name: knobs.column(name) for name in ("mmi", "repetition", "difference")}
        norm = _norm(lengths, knobs.column("length_penalty"))
        size = network.vocabulary_size
        best = reranking.best(log_probs, unseen, tokens, norm, vocabulary_size=size, break_id=break_id, **weights)
        return tf.where(chooses, best, order)

    told = _where_any(chooses, chosen, lambda: order, asked=knobs.overridden("candidates"))
    return told[:, : knobs.largest("beam")]


def _where_any(pictures: tf.Tensor, done: Callable[[], tf.Tensor], left: Callable[[], tf.Tensor], *, asked: bool):
    """What is `done` where any of the pictures wants it, else what is `left`. A knob that nobody is `asked` for is a
    constant, and no branch: in a graph of one batch size TensorFlow has lost what came of such a one."""
    return tf.cond(tf.reduce_any(pictures), done, left) if asked else done()


class _Knobs:
    """The knobs of a configuration, some of them overridden: a scalar each, or a value a picture."""

    def __init__(self, config: DecodingConfig, overrides: Mapping[str, tf.Tensor]):
        unknown = set(overrides) - set(KNOBS)
        if unknown:
            raise ValueError(f"no such knobs of decoding: {sorted(unknown)}; known are {sorted(KNOBS)}")
        self._config, self._overrides = config, overrides
        self.may_sample = self.on("temperature")
        self.may_search = self.overridden("temperature") or not self.may_sample
        self.sampled = self.column("temperature") > 0.0 if self.may_sample else tf.constant(False)  # (B, 1) or ()

    def on(self, name: str) -> bool:
        """Whether the knob can do anything: 0 is off."""
        return name in self._overrides or bool(getattr(self._config, name))

    def differs(self, name: str, off: float) -> bool:
        """Whether the knob can be anything but `off`."""
        return self.overridden(name) or getattr(self._config, name) != off

    def overridden(self, name: str) -> bool:
        return name in self._overrides

    def where_sampled(self, drawn: Callable[[], tf.Tensor], searched: Callable[[], tf.Tensor]) -> tf.Tensor:
        """The one for pictures whose captions are sampled, the other for the rest, int32 (B, K) each; of the two only
        what any picture of the batch needs is computed."""
        if not self.may_sample:
            return searched()
        if not self.may_search:
            return drawn()

        def both():
            return tf.where(self.sampled, drawn(), searched())

        of_some = functools.partial(tf.cond, tf.reduce_any(self.sampled), both, searched)
        return tf.cond(tf.reduce_all(self.sampled), drawn, of_some)

    def column(self, name: str) -> tf.Tensor:
        """(B, 1), or a scalar."""
        if name in self._overrides:
            return tf.cast(self._overrides[name], KNOBS[name])[:, tf.newaxis]
        return tf.constant(getattr(self._config, name), KNOBS[name])

    def block(self, name: str) -> tf.Tensor:
        """(B, 1, 1), or a scalar."""
        return self.column(name)[..., tf.newaxis] if name in self._overrides else self.column(name)

    def width(self) -> tf.Tensor:
        """How many hypotheses a picture has: (B, 1), or a scalar."""
        return tf.maximum(self.column("beam"), self.column("candidates"))

    def widest(self):
        """The largest width: a Python integer where it is configured, a scalar tensor where it is overridden."""
        if self.overridden("beam") or self.overridden("candidates"):
            return tf.reduce_max(self.width())
        return max(self._config.beam, self._config.candidates)

    def largest(self, name: str):
        """The largest value: a Python integer where it is configured, a scalar tensor where it is overridden."""
        return tf.reduce_max(self.column(name)) if name in self._overrides else getattr(self._config, name)


def _choose(ranks: tf.Tensor, knobs: _Knobs, slots: tf.Tensor, group_size: tf.Tensor) -> tf.Tensor:
    """The best extensions: ranks (B, K, V) to indices (B, K) into K * V, group after group."""
    B, K, V = tf.unstack(tf.shape(ranks))

    def best(ranks):
        return tf.math.top_k(tf.reshape(ranks, [B, K * V]), K, sorted=True)[1]  # (B, K)

    groups = knobs.largest("groups")
    if isinstance(groups, int) and groups == 1 and not (knobs.overridden("beam") or knobs.overridden("candidates")):
        return best(ranks)
    group = slots // group_size  # (B, K) or (K,): whose each slot is

    def one_group(g, chosen, said):
        member = tf.broadcast_to(tf.equal(group, g), [B, K])
        penalized = ranks - knobs.block("diversity") * said[:, tf.newaxis]
        mine = best(tf.where(member[:, :, tf.newaxis], penalized, 2 * NEVER * tf.cast(K, tf.float32)))
        place = tf.broadcast_to(slots - g * group_size, [B, K])  # of a slot among its group's choices
        chosen = tf.where(member, tf.gather(mine, tf.clip_by_value(place, 0, K - 1), batch_dims=1), chosen)
        words = tf.one_hot(tf.where(member, chosen % V, -1), V)  # (B, K, V)
        return g + 1, chosen, said + tf.reduce_sum(words, axis=1)

    # Slots beyond a picture's own beam belong to no group below its number of groups: they stay as they are.
    chosen = tf.broadcast_to(slots * V + PAD_ID, [B, K])
    spoken = tf.zeros([B, V])
    return tf.while_loop(lambda g, *_: g < groups, one_group, (tf.constant(0), chosen, spoken))[1]


def _sample(step: tf.Tensor, uniform: tf.Tensor, knobs: _Knobs) -> tf.Tensor:
    """A word for every hypothesis: log-probabilities (B, K, V) and uniform (B, K) to int32 (B, K), by inverting the
    cumulative distribution. Words stay in their order, so what a seed draws for a picture is its own, whatever others
    of the batch ask for."""
    temperature = knobs.block("temperature")
    probabilities = tf.nn.softmax(step / tf.where(temperature > 0, temperature, 1.0))  # (B, K, V)
    kept = probabilities
    if knobs.differs("min_p", 0.0):
        least = knobs.block("min_p") * tf.reduce_max(probabilities, axis=-1, keepdims=True)
        kept = tf.where(probabilities >= least, kept, 0.0)
    # The rest has to put words in order, which costs more than all else of a step: only where it is asked for.
    if knobs.differs("top_k", 0) or knobs.differs("top_p", 1.0):
        wanted = (knobs.column("top_k") > 0) | (knobs.column("top_p") < 1.0)
        rule = functools.partial(_likeliest, probabilities, kept, knobs.block("top_k"), knobs.block("top_p"))
        kept = _where_any(wanted, rule, lambda: kept, asked=knobs.overridden("top_k") or knobs.overridden("top_p"))
    if knobs.differs("typical_p", 1.0):
        typical = functools.partial(_typical, kept, knobs.block("typical_p"))
        kept = _where_any(knobs.column("typical_p") < 1.0, typical, lambda: kept, asked=knobs.overridden("typical_p"))
    return _inverted(kept, uniform)


def _inverted(mass: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Where the cumulative sum of `mass` float32 (B, K, V) first passes its `uniform` (B, K) share, int32 (B, K); never
    where there is none. First in which block of words, then where in it: to sum up by and by is slow, to add up not."""
    (B, K, _), V = tf.unstack(tf.shape(mass)), mass.shape[2]
    blocks = -(-V // _BLOCK)
    mass = tf.reshape(tf.pad(mass, [[0, 0], [0, 0], [0, blocks * _BLOCK - V]]), [B, K, blocks, _BLOCK])
    cumulative = tf.cumsum(tf.reduce_sum(mass, axis=3), axis=2)  # (B, K, blocks)
    threshold = uniform[:, :, tf.newaxis] * cumulative[:, :, -1:] * (1 - 1e-6)  # (B, K, 1)
    passed = cumulative <= threshold
    block = tf.reduce_sum(tf.cast(passed, tf.int32), axis=2)  # (B, K)
    threshold -= tf.reduce_max(tf.where(passed, cumulative, 0.0), axis=2, keepdims=True)
    cumulative = tf.cumsum(tf.gather(mass, block, batch_dims=2), axis=2)  # (B, K, _BLOCK)
    threshold = tf.minimum(threshold, cumulative[:, :, -1:] * (1 - 1e-6))  # sums of blocks are rounded otherwise
    return block * _BLOCK + tf.reduce_sum(tf.cast(cumulative <= threshold, tf.int32), axis=2)


def _likeliest(probabilities: tf.Tensor, kept: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """`kept` (B, K, V), and 0 but for the first `top_k` words and the fewest that have a share `top_p`."""
    ranked = tf.math.top_k(probabilities, tf.shape(probabilities)[-1])[0]
    before = tf.cumsum(ranked, axis=-1, exclusive=True)
    chosen = ((before < top_p) | (top_p >= 1.0)) & ((tf.range(tf.shape(ranked)[-1]) < top_k) | tf.equal(top_k, 0))
    least = tf.reduce_min(tf.where(chosen, ranked, 1.0), axis=-1, keepdims=True)
    return tf.where(probabilities >= least, kept, 0.0)


def _typical(probabilities: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Probabilities float32 (B, K, V), and 0 but for the fewest that have `share` of their sum, those first whose
    information is nearest to the entropy of all."""
    total = tf.reduce_sum(probabilities, axis=-1, keepdims=True)
    of_all = probabilities / total
    there = of_all > 0
    information = -tf.math.log(tf.where(there, of_all, 1.0))
    entropy = tf.reduce_sum(of_all * information, axis=-1, keepdims=True)
    strangeness = tf.where(there, tf.abs(information - entropy), -NEVER)
    nearest, order = tf.math.top_k(-strangeness, tf.shape(probabilities)[-1])
    before = tf.cumsum(tf.gather(of_all, order, batch_dims=2), axis=-1, exclusive=True)
    most = tf.reduce_max(tf.where(before < share, -nearest, 0.0), axis=-1, keepdims=True)
    return tf.where((strangeness <= most) | (share >= 1.0), probabilities, 0.0)


def _uniform(knobs: _Knobs, B, K, T) -> tf.Tensor:
    """Numbers (B, K, T) in [0, 1), those of a picture from its own seed alone."""
    if not knobs.overridden("seed"):
        drawn = tf.random.stateless_uniform([K, T], tf.stack([knobs.column("seed"), 0]))
        return tf.broadcast_to(drawn, [B, K, T])
    seeds = tf.broadcast_to(knobs.column("seed")[:, 0], [B])
    return tf.map_fn(lambda seed: tf.random.stateless_uniform([K, T], [seed, 0]), seeds, fn_output_signature=tf.float32)


def _norm(lengths: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.maximum(lengths, 1), tf.float32) ** penalty


def _cast(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)
