"""The `run_fn` of Trainer: transformed Examples in, SavedModel out."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path

import tensorflow as tf

import memefly
from components.caption_trainer.transformed import read_transformed
from memefly import encoders, provenance, tracking
from memefly.decoding import DecodingConfig
from memefly.encoders import EncoderConfig
from memefly.export import Captioner, export
from memefly.networks import NetworkConfig
from memefly.training import TrainingConfig, train
from memefly.training.distribution import make_strategy

log = logging.getLogger("memefly.trainer")

HISTORY = "history.json"
_TELL_EVERY = 30.0  # seconds


def run_fn(fn_args) -> None:
    """Trains, and exports to `fn_args.serving_model_dir`; the learning curve goes to `fn_args.model_run_dir`.

    `custom_config`: the sections of the configuration as dicts, `root` (of the pipeline) and `code` (a digest of the
    sources, which keys TFX's cache and the checkpoints).
    """
    config = fn_args.custom_config
    root = Path(config["root"])
    training = TrainingConfig(**config["training"])
    strategy = make_strategy(training.strategy)  # first of all: workers cannot be set up once anything was computed
    encoder = encoders.load(EncoderConfig(**config["encoder"]))
    network = NetworkConfig(**config["network"])
    decoding = DecodingConfig(**config["decoding"])

    data = read_transformed(
        fn_args.transform_output,
        _files(fn_args.train_files),
        _files(fn_args.eval_files),
        encoder.feature_shape,
        config["text"]["max_length"],
    )
    checkpoints = root / "checkpoints" / _key(config, fn_args.transform_output)

    with tracking.Run(root, job_type="train", config={k: v for k, v in config.items() if k != "root"}) as run:
        told, steps = time.monotonic(), {}

        def at(values: dict) -> int:
            """W&B counts steps over all stages."""
            return values["step"] + sum(n for stage, n in steps.items() if stage != values["stage"])

        def on_event(name: str, values: dict) -> None:
            nonlocal told
            if name == "start":
                log.info("%(stage)s: %(steps)d steps at most", values)
            elif name == "step":
                run.log({f"{values['stage']}/{k}": values[k] for k in ("loss", "learning_rate")}, step=at(values))
                if time.monotonic() - told > _TELL_EVERY:
                    told = time.monotonic()
                    log.info("%(stage)s: step %(step)d of %(steps)d  loss %(loss).3f", values)
            elif name == "epoch":
                told = time.monotonic()
                scalars = {k: v for k, v in values.items() if k != "samples"}
                run.log(scalars, step=at(values))
                columns = ["picture", "caption", "references"]
                rows = [[s["image"], s["caption"], "\n".join(s["references"])] for s in values["samples"]]
                run.log_table("samples", columns, rows, step=at(values))
                log.info(
                    "%(stage)s: epoch %(epoch)d  loss %(loss).3f  val BLEU-4 %(val_bleu4).3f  CIDEr %(val_cider).3f  "
                    "%(captions_per_second).0f captions/s",
                    values,
                )
                steps[values["stage"]] = values["step"]

        result = train(
            data.examples,
            data.standardizer,
            data.vocabulary,
            network,
            training,
            checkpoints,
            on_event,
            encoder,
            strategy,
        )
        run.summarize({f"best/{k}": v for k, v in result.metrics.items()})
    encoder = result.encoder or encoder

    model_run = Path(fn_args.model_run_dir)
    model_run.mkdir(parents=True, exist_ok=True)
    (model_run / HISTORY).write_text(json.dumps(result.history, indent=2) + "\n", encoding="utf-8")
    manifest = {
        "memefly": memefly.__version__,
        "git": provenance.git_commit(),
        "encoder": {
            "name": encoder.name,
            "digest": encoder.digest,
            "image_size": encoder.image_size,
            "feature_shape": encoder.feature_shape,
        },
        "config": {k: config[k] for k in ("splits", "text", "network", "training", "decoding")},
        "vocabulary": {"size": len(data.vocabulary), "sha256": _sha256(data.vocabulary_file)},
        "metrics": {"val": result.metrics, "seconds": round(sum(h["seconds"] for h in result.history), 1)},
        "versions": provenance.versions(),
    }
    captioner = Captioner(encoder.graph, data.standardizer, result.network, data.vocabulary_file, decoding)
    export(captioner, fn_args.serving_model_dir, manifest)


def _files(patterns: list[str]) -> list[str]:
    return [file for pattern in patterns for file in tf.io.gfile.glob(pattern)]


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _key(config: dict, transform_output: str) -> str:
    """Names the checkpoints of this very training: another recipe or other data never resumes from them."""
    relevant = {k: config[k] for k in ("encoder", "encoder_digest", "network", "training", "text", "code")}
    relevant["transform"] = transform_output
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
