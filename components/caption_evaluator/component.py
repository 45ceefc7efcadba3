"""CaptionEvaluator: the contract.

    evaluator = CaptionEvaluator(examples=…, model=…, baseline_model=…, eval_config=…, example_splits=["eval"])

TFX's Evaluator, and besides: the metrics know the captions of train and val, so that copying can be told; `evaluation`
holds what both models said of every picture (`captions-*.jsonl`); and `blessing` says what was decided by which rule,
in its properties `decisions` (JSON: of the rules on all pictures, and of all that failed) and `reason`.
"""

from __future__ import annotations

from tfx.components.evaluator.component import Evaluator
from tfx.dsl.components.base import executor_spec

from components.caption_evaluator import executor


class CaptionEvaluator(Evaluator):
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
