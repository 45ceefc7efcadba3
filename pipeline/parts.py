"""Parts of the pipeline that have a command of their own, and a job type in W&B; in their order they make up the whole.

>>> PARTS["train"].from_nodes
('Trainer',)
>>> unlike(made, compiled, ["CaptionExampleGen"])           # what a run made was made of something else
{'CaptionExampleGen': 'fingerprint'}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tfx.orchestration.portable import partial_run_utils
from tfx.proto.orchestration import pipeline_pb2

from memefly.operations.records import Node, flat, readable


@dataclass(frozen=True)
class Part:
    name: str  # of the command, and the job type in W&B
    from_nodes: tuple[str, ...]
    to_nodes: tuple[str, ...]
    told_with: tuple[str, ...]  # the nodes of which one has to run for there to be news
    help: str


PARTS = {
    part.name: part
    for part in (
        Part(
            "log-raw-data", ("CaptionExampleGen",), ("CaptionExampleGen",), ("CaptionExampleGen",),
            "read, clean and split a data set, and log it in W&B: the first part of `run`",
        ),
        Part(
            "process-data", ("ImportSchemaGen", "StatisticsGen", "ImageFeatures"), ("Transform",), ("Transform",),
            "validate what was read, compute features and vocabulary, and log them: the second part of `run`",
        ),
        Part(
            "train", ("Trainer",), ("Trainer",), ("Trainer",),
            "train on what was processed, and log the model: the third part of `run`",
        ),
        Part(
            "evaluate", ("LiveModel", "ServingValidator", "Evaluator"), ("Tracking",), ("Tracking",),
            "judge the model that was trained, and push it where it is blessed: the last part of `run`",
        ),
    )
}  # fmt: skip


def before(pipeline: pipeline_pb2.Pipeline, part: Part) -> list[str]:
    """The nodes of a compiled pipeline of whose work the part's is made, at whatever distance; not those that only had
    to come before."""
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
    ours = [name for name, node in nodes.items() if not node.execution_options.HasField("skip")]
    wanted, found = list(ours), set(ours)
    while wanted:
        given = nodes[wanted.pop()].inputs.inputs.values()
        makers = {channel.producer_node_query.id for one in given for channel in one.channels} & set(nodes)
        wanted += sorted(makers - found)
        found |= makers
    return [name for name in nodes if name in found and name not in ours]


def mark(pipeline: pipeline_pb2.Pipeline, from_nodes: Iterable[str], to_nodes: Iterable[str]) -> None:
    """Marks what of a compiled pipeline is not to run. Raises `ValueError` where that cannot be."""
    partial_run_utils.mark_pipeline(pipeline, from_nodes=list(from_nodes) or None, to_nodes=list(to_nodes) or None)


def unlike(made: Mapping[str, Node], pipeline: pipeline_pb2.Pipeline, nodes: Iterable[str]) -> dict[str, str]:
    """By node whose work was done with other parameters than the pipeline has now, the first of those that differ."""
    compiled = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
    found = {}
    for name in nodes:
        now: dict[str, str] = {}
        for key, value in compiled[name].parameters.parameters.items():
            held = value.field_value
            now |= flat(readable(getattr(held, held.WhichOneof("value") or "string_value")), key)
        then = made[name].properties if name in made else {}
        differing = [key for key, value in now.items() if then.get(key) != value]
        if differing:
            found[name] = differing[0]
    return found
