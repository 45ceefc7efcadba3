"""Transformed Examples in, SavedModel out: the training of Trainer, alone or as one of several workers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

import memefly
from components.caption_trainer.transformed import Transformed, read_transformed
from components.image_features import artifact
from memefly import devices, encoders, layout, provenance, storage, tracking
from memefly.decoding_config import DecodingConfig
from memefly.devices import DevicesConfig
from memefly.encoders import EncoderConfig
from memefly.exported.captioner import Captioner, export
from memefly.exported.parts import blocked_by
from memefly.networks import NetworkConfig
from memefly.safety import SafetyConfig
from memefly.spelling import Spelling
from memefly.training import TrainingConfig, TrainingResult, train
from memefly.training.distribution import barrier, make_strategy

log = logging.getLogger("memefly.trainer")

HISTORY = "history.json"
CHECKPOINTS = "checkpoints.txt"  # the folder in ROOT/checkpoints that this training has no more need of
_IN_MANIFEST = ("splits", "hold_out_groups", "cleaning", "text", "network", "training", "decoding", "safety")
_PLACES = ("root", "store", "features", "pictures")  # of the configuration
_TELL_EVERY = 30.0  # seconds


def train_and_export(fn_args) -> None:
    """Trains alone or as the chief; `fn_args` as in `run_fn`. The learning curve goes to `fn_args.model_run_dir`, with
    the name of the folder of the checkpoints: they are to stay until ML Metadata knows of the model."""
    config = fn_args.custom_config
    # First of all: workers cannot be set up once anything was computed, nor GPUs.
    devices.configure(DevicesConfig(**config["devices"]))
    strategy = _joined(config["training"]["strategy"])
    tracked = {k: v for k, v in config.items() if k not in _PLACES}
    with tracking.Run(config["root"], job_type="train", config=tracked) as run:
        steps: dict[str, int] = {}  # done, by stage

        def on_event(name: str, values: dict) -> None:
            # W&B counts steps over all stages.
            before = sum(n for stage, n in steps.items() if stage != values["stage"])
            if name == "step":
                scalars = {f"{values['stage']}/{k}": values[k] for k in ("loss", "learning_rate")}
                run.log(scalars, step=before + values["step"])
            elif name == "epoch":
                step = before + values["step"]
                run.log({k: v for k, v in values.items() if k != "samples"}, step=step)
                columns = ["picture", "caption", "references"]
                rows = [[s["image"], s["caption"], "\n".join(s["references"])] for s in values["samples"]]
                run.log_table("samples", columns, rows, step=step)
                steps[values["stage"]] = values["step"]

        data, encoder, result = _train(fn_args, strategy, on_event)
        run.summarize({f"best/{k}": v for k, v in result.metrics.items()})
    encoder = result.encoder or encoder

    model_run = storage.at(fn_args.model_run_dir)
    model_run.mkdir(parents=True, exist_ok=True)
    (model_run / HISTORY).write_text(json.dumps(result.history, indent=2) + "\n", encoding="utf-8")
    (model_run / CHECKPOINTS).write_text(_key(config, fn_args.transform_output), encoding="utf-8")
    manifest = {
        "memefly": memefly.__version__,
        "git": provenance.git_commit(),
        "encoder": {
            "name": encoder.name,
            "digest": encoder.digest,
            "image_size": encoder.image_size,
            "feature_shape": encoder.feature_shape,
        },
        "config": {k: config[k] for k in _IN_MANIFEST},
        "safety": {"digest": SafetyConfig(**config["safety"]).lists().digest},
        "vocabulary": {"size": len(data.vocabulary), "sha256": _sha256(data.vocabulary_file)},
        "metrics": {"val": result.metrics, "seconds": round(sum(h["seconds"] for h in result.history), 1)},
        "versions": provenance.versions(),
    }
    decoding = DecodingConfig(**config["decoding"])
    blocked = blocked_by(config["safety"], data.vocabulary)
    spelling = Spelling.of_text(config["text"])
    captioner = Captioner(
        encoder.graph, data.standardizer, result.network, data.vocabulary_file, decoding, blocked, spelling
    )
    export(captioner, fn_args.serving_model_dir, manifest)
    barrier(strategy)


def help_train(fn_args) -> None:
    """What a worker that is not the chief does of the same training: its share of every batch."""
    devices.configure(DevicesConfig(**fn_args.custom_config["devices"]))
    strategy = _joined(fn_args.custom_config["training"]["strategy"])
    _train(fn_args, strategy, lambda name, values: None)
    barrier(strategy)  # one that left earlier would look lost to the others


def _joined(name: str) -> tf.distribute.Strategy:
    """The strategy of that name, with all workers there, where there are several."""
    strategy = make_strategy(name)
    if name == "multi_worker":
        barrier(strategy)
        log.info("all workers are there", extra={"joined": True})
    return strategy


def _train(
    fn_args, strategy, on_event: Callable[[str, dict], None]
) -> tuple[Transformed, encoders.Encoder, TrainingResult]:
    """Trains, and says in the log how far it is; `on_event` hears it too."""
    config = fn_args.custom_config
    training = TrainingConfig(**config["training"])
    encoder = encoders.load(EncoderConfig(**config["encoder"]))
    data = read_transformed(
        fn_args.transform_output,
        _files(fn_args.train_files),
        _files(fn_args.eval_files),
        artifact.read(config["features"]),
        config["store"],
        config["text"]["max_length"],
        Spelling.of_text(config["text"]),
        {split: _files([f"{folder}/*"]) for split, folder in config["pictures"].items()},
    )
    told = time.monotonic()

    def tell(name: str, values: dict) -> None:
        nonlocal told
        on_event(name, values)
        if name == "start":
            log.info("%(stage)s: %(steps)d steps at most", values)
        elif name == "step" and time.monotonic() - told > _TELL_EVERY:
            told = time.monotonic()
            log.info("%(stage)s: step %(step)d of %(steps)d  loss %(loss).3f", values)
        elif name == "epoch":
            told = time.monotonic()
            bits = values.get("val_bits_a_character")
            log.info(
                "%(stage)s: epoch %(epoch)d  loss %(loss).3f  val BLEU-4 %(val_bleu4).3f  CIDEr %(val_cider).3f  "
                "%(bits)s%(captions_per_second).0f captions/s",
                values | {"bits": f"{bits:.3f} bits a character  " if bits else ""},
            )

    result = train(
        data.examples,
        data.standardizer,
        data.vocabulary,
        NetworkConfig(**config["network"]),
        training,
        Path(config["root"]) / "checkpoints" / _key(config, fn_args.transform_output),
        tell,
        encoder,
        strategy,
    )
    return data, encoder, result


def _files(patterns: list[str]) -> list[str]:
    return [file for pattern in patterns for file in tf.io.gfile.glob(pattern)]


def _sha256(path: str) -> str:
    return hashlib.sha256(storage.at(path).read_bytes()).hexdigest()


def _key(config: dict, transform_output: str) -> str:
    """Names the checkpoints of this very training: another recipe or other data never resumes from them."""
    relevant = {k: config[k] for k in ("encoder", "encoder_digest", "network", "training", "text", "code")}
    artifacts = str(layout.of(config["root"]).artifacts)  # which may be moved meanwhile
    relevant["transform"] = os.path.join("artifacts", os.path.relpath(transform_output, artifacts))
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
