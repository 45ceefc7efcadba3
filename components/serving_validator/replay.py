"""Loads an exported model as a stranger would and checks that it keeps its contract.

    python -m components.serving_validator.replay MODEL EXAMPLES PICTURES

Imports TensorFlow and TensorFlow Serving's protos and nothing of this project: whatever the graph needs must be in
the SavedModel. Exits with 1 and says why on the last line of standard error where something is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


class ContractError(Exception):
    pass


def check(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def letters(text: str) -> str:
    """What of a text is not where its blanks are: the words `<br>`, ‘ and – are spelled as a new line, ' and -."""
    return "".join(text.replace("<br>", " ").replace("‘", "'").replace("–", "-").split())


def letters_of(words: list[str]) -> str:
    """The same of words, or of their pieces, those that go on with a word behind `##`."""
    return letters(" ".join(word.removeprefix("##") for word in words))


def _chooses(model: str) -> bool:
    manifest = Path(model) / "memefly.json"
    config = json.loads(manifest.read_text(encoding="utf-8"))["config"] if manifest.is_file() else {}
    return bool(config.get("decoding", {}).get("candidates"))


def pictures_of(examples: str, count: int) -> list[bytes]:
    """Encoded pictures of a split: the first `count` of its Examples."""
    files = sorted(tf.io.gfile.glob(f"{examples}/*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(files, compression).take(count)
    return [
        tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
        for record in records.as_numpy_iterator()
    ]


def replay(model: str, examples: str, count: int) -> None:
    """Raises `ContractError` where a signature does not answer as it should."""
    loaded = tf.saved_model.load(model)
    for name in ("serving_default", "explain", "evaluate"):
        check(name in loaded.signatures, f"signature {name} is missing")
    serve, explain, evaluate = (loaded.signatures[n] for n in ("serving_default", "explain", "evaluate"))

    warmup = Path(model) / "assets.extra" / "tf_serving_warmup_requests"
    check(warmup.is_file(), "there are no warm-up requests")
    for record in tf.data.TFRecordDataset(str(warmup)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        loaded.signatures[request.model_spec.signature_name](**inputs)

    pictures = pictures_of(examples, count)
    check(bool(pictures), "the eval split has no pictures to query with")
    batch = {k: v.numpy() for k, v in serve(image_bytes=tf.constant(pictures)).items()}
    rows = len(pictures)
    check(set(batch) == {"caption", "score", "captions", "scores", "error"}, f"outputs are {sorted(batch)}")
    check(batch["caption"].shape == batch["score"].shape == (rows,), "caption and score are not (B,)")
    check(batch["captions"].shape == batch["scores"].shape, "captions and scores differ in shape")
    check(batch["captions"].shape[0] == rows and batch["captions"].ndim == 2, "captions is not (B, K)")
    check(bool(np.all(np.isfinite(batch["score"]))), "a score is not finite")
    if not _chooses(model):  # candidates are ranked by more than their scores
        check(bool(np.all(np.diff(batch["scores"], axis=1) <= 0)), "captions are not best first")
    check(bool(np.all(batch["captions"][:, 0] == batch["caption"])), "caption is not the first of captions")
    check(all(caption.decode("utf-8").strip() for caption in batch["caption"]), "a caption is empty")

    check(not any(batch["error"]), f"pictures are refused: {[e for e in batch['error'] if e][:1]}")

    mixed = {k: v.numpy() for k, v in serve(image_bytes=tf.constant([b"no picture", pictures[0]])).items()}
    check(bool(mixed["error"][0]) and not mixed["error"][1], "what is no picture has no error of its own")
    check(mixed["caption"][1] == batch["caption"][0], "what is no picture changes its neighbour's caption")

    alone = serve(image_bytes=tf.constant(pictures[:1]))["caption"].numpy()
    check(alone[0] == batch["caption"][0], "a picture alone and in a batch gets different captions")
    again = evaluate(image=tf.constant(pictures))["caption"].numpy()
    check(bool(np.all(again == batch["caption"])), "evaluate and serving_default differ")
    explained = {k: v.numpy() for k, v in explain(image_bytes=tf.constant(pictures)).items()}
    tokens, alphas = explained["tokens"], explained["alphas"]
    check(alphas.ndim == 4 and alphas.shape[:2] == tokens.shape, "alphas is not (B, T, h, w)")
    said = [[word.decode("utf-8") for word in row if word not in (b"", b"</s>")] for row in tokens]
    check(
        [letters_of(words) for words in said] == [letters(c.decode("utf-8")) for c in batch["caption"]],
        "explain spells other captions than serving_default",
    )
    looked = alphas.sum(axis=(2, 3))[tokens != b""]
    check(bool(np.allclose(looked, 1.0, atol=1e-3)), "attention weights of a word do not add up to 1")


def main(argv: list[str]) -> int:
    model, examples, count = argv
    try:
        replay(model, examples, int(count))
    except Exception as error:  # whatever goes wrong in here would go wrong in a server
        print(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
