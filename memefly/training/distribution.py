"""One batch over several replicas: devices of one machine, or workers on several.

    >>> strategy = make_strategy("multi_worker")     # reads TF_CONFIG, as tf.distribute defines it
    >>> shares = share(strategy, features, tokens)

Every process reads the same batches and takes its replicas' share of each, so that n replicas with batches of P
pictures go the way that one would go with batches of n * P. Losses are means over the whole batch: replicas add up.
Only the chief writes checkpoints, and all restore its: workers need a file system in common.
"""

from __future__ import annotations

import re
from collections.abc import Container

import tensorflow as tf

from memefly.errors import TrainingError, WorkerLostError

_PEER = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """`none`, `mirrored` or `multi_worker`. Raises `TrainingError` where workers cannot be set up."""
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the workers could not be set up ({error}). Expected TF_CONFIG with `cluster` and `task`, the same "
            "cluster in every worker, and a process in which TensorFlow has not computed anything yet: call "
            "make_strategy first and hand it to train() (the pipeline trains in a process of its own for that)"
        ) from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return leads(resolver.task_type, resolver.task_id, resolver.cluster_spec().as_dict())


def leads(kind: str, index: int, cluster: Container[str]) -> bool:
    """Whether a task is the chief of a cluster (its kinds of tasks): the one named so, or the first worker."""
    return kind == "chief" or ("chief" not in cluster and index == 0)


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Returns when every worker has come here: what the chief wrote before it can be read behind it."""
    if strategy.num_replicas_in_sync == 1:
        return

    def meet():
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

    strategy.run(tf.function(meet, autograph=False))


def lost_worker(error: Exception) -> WorkerLostError | None:
    """What an error of TensorFlow's says of the other workers; None where it is about something else."""
    if not isinstance(error, _LOST):
        return None
    lines = str(error).splitlines()
    said = next(
        (line for line in lines if line.startswith("Collective ops is aborted by: ")), lines[0] if lines else ""
    )
    peer = _PEER.search(str(error))
    who = f"{peer[1]} {peer[2]}" if peer else "another worker"
    reason = said.removeprefix("Collective ops is aborted by: ") or type(error).__name__
    return WorkerLostError(f"the connection to {who} was lost ({reason})")


def share(strategy: tf.distribute.Strategy, *batch: tf.Tensor) -> tuple:
    """Each replica's pictures of a batch, as values to give to `strategy.run`.

    Tensors are (P, …); where P is no multiple of the replicas, the last picture comes again, with captions (int32) that
    are all padding: nothing is learnt from it.
    """
    n = strategy.num_replicas_in_sync
    each = -(-batch[0].shape[0] // n)
    if missing := each * n - batch[0].shape[0]:
        batch = tuple(tf.concat([x, *[_nothing(x)] * missing], axis=0) for x in batch)
    return tuple(
        strategy.experimental_distribute_values_from_function(
            lambda context, x=x: x[context.replica_id_in_sync_group * each :][:each]
        )
        for x in batch
    )


def _nothing(x: tf.Tensor) -> tf.Tensor:
    return tf.zeros_like(x[-1:]) if x.dtype == tf.int32 else x[-1:]


def replicated(strategy: tf.distribute.Strategy, step, after, signature):
    """`step` as one graph on every replica, its results added up; `after` follows once, across replicas.

    `step(scalars, *batch) -> tuple of scalars`: `scalars` float32 (k,) is the same everywhere, the tensors of a batch
    are each replica's share. Returns a function of the same arguments over whole batches.
    """
    if strategy.num_replicas_in_sync == 1:

        def alone(scalars, *batch):
            results = step(scalars, *batch)
            after()
            return results

        # autograph=False: nothing here branches on tensors, and converting the optimizer takes seconds.
        return tf.function(alone, input_signature=signature, autograph=False)

    @tf.function(reduce_retracing=True, autograph=False)
    def everywhere(scalars, *batch):
        results = strategy.run(step, args=(scalars, *batch))
        after()
        return tuple(strategy.reduce(tf.distribute.ReduceOp.SUM, r, axis=None) for r in results)

    return lambda scalars, *batch: everywhere(scalars, *share(strategy, *batch))
