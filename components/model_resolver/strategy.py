"""LatestBlessedOther: the latest blessed model that is whole and not the candidate itself.

    Resolver(LatestBlessedOther, model=Channel(type=Model), model_blessing=Channel(type=ModelBlessing),
             candidate=trainer.outputs["model"])

TFX's own LatestBlessedModelStrategy would, on a second run with nothing changed, hand the candidate its own blessed
self as baseline: new inputs, so evaluation and push would run again instead of coming from the cache. And it would hand
out a model whose files are gone or damaged, and no candidate could ever be judged again.
"""

from __future__ import annotations

import logging

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common import resolver
from tfx.utils import path_utils

from components import places
from memefly.exported.manifest import damage

log = logging.getLogger("memefly.live_model")

CANDIDATE, MODEL, BLESSING = "candidate", "model", "model_blessing"


class LatestBlessedOther(resolver.ResolverStrategy):
    def resolve_artifacts(self, store, input_dict):
        candidate = input_dict.get(CANDIDATE, [])
        ours = {artifact.id for artifact in candidate}
        models = {artifact.id: artifact for artifact in input_dict.get(MODEL, [])}
        blessings = [
            blessing
            for blessing in input_dict.get(BLESSING, [])
            if blessing.get_int_custom_property("blessed") == 1
            and blessing.get_int_custom_property("current_model_id") not in ours
        ]
        seen = set()
        for blessing in sorted(blessings, key=lambda blessing: blessing.id, reverse=True):
            number = blessing.get_int_custom_property("current_model_id")
            if number in seen:
                continue
            seen.add(number)
            wrong = _wrong(models[number]) if number in models else "its files are gone"
            if not wrong:
                if len(seen) > 1:
                    log.warning("measures against an older blessed model, %s", _place(models[number]))
                return {CANDIDATE: candidate, MODEL: [models[number]], BLESSING: [blessing]}
            place = _place(models[number]) if number in models else f"of number {number} in ML Metadata"
            log.warning("the blessed model %s is no baseline: %s", place, wrong)
        if seen:
            log.warning("no blessed model is left whole: judges by what is asked of a first model")
        return {CANDIDATE: candidate, MODEL: [], BLESSING: []}


def _place(model) -> str:
    return places.current().absolute(model.uri)


def _wrong(model) -> str:
    """What is wrong with a model's files; empty where nothing is."""
    if model.mlmd_artifact.state == metadata_store_pb2.Artifact.DELETED:
        return "its files are gone"
    if not model.uri:  # it says of no files that they should be there
        return ""
    return damage(path_utils.serving_model_path(_place(model)), contents=True)
