"""`memefly.json`, which says what an exported model is, and the digests in it. Imports no TensorFlow by itself.

>>> read_manifest(newest_version("root/serving/captioner"))["metrics"]["eval"]["bleu4"]
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from memefly.errors import ModelError

MANIFEST = "memefly.json"
MODEL_NAME = "captioner"
SIGNATURES = ("serving_default", "decode", "explain", "evaluate")


def read_manifest(folder: str | Path) -> dict:
    """What `memefly.json` says. Raises `ModelError` where the folder holds no exported model."""
    path = Path(folder) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a model of memefly: no {MANIFEST} in it. Expected a version folder such as "
            "ROOT/serving/captioner/1700000000, or the captioner folder above it"
        ) from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is damaged ({error})") from None


def write_manifest(folder: Path, manifest: dict) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def manifest_of_smaller(manifest: dict, precision: str) -> dict:
    """Of a smaller form of a model: what was measured of the model, and its blessing, are not the small one's."""
    kept = {k: v for k, v in manifest.items() if k != "blessed"}
    return kept | {"precision": precision, "of": manifest["digest"], "metrics": {}}


def newest_version(folder: str | Path) -> Path:
    """`folder` itself where it is a model, else its version with the highest number. Raises `ModelError`."""
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        return folder
    versions = [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    if not versions:
        read_manifest(folder)  # raises, and says what was expected
    return max(versions, key=lambda p: int(p.name))


def model_digest(folder: Path) -> str:
    """SHA-256 over the weights of a SavedModel, the numbers in its graph, and its vocabulary; names and times do not
    enter."""
    import tensorflow as tf

    content = hashlib.sha256()
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    for name in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(name)
        if isinstance(value, np.ndarray):  # the object graph is a string: it names objects, and says nothing of them
            content.update(name.encode() + value.tobytes())
    for constant in sorted(_constants(folder)):
        content.update(constant)
    for asset in sorted((folder / "assets").iterdir()):
        content.update(asset.name.encode() + asset.read_bytes())
    return content.hexdigest()


def _constants(folder: Path) -> list[bytes]:
    """The arrays of floats in the functions of a SavedModel, among them the encoder's biases."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    tensors = (n.attr["value"].tensor for f in functions for n in f.node_def if n.op == "Const")
    return [t.tensor_content for t in tensors if tf.as_dtype(t.dtype).is_floating and t.tensor_content]


def files_digest(folder: Path) -> str:
    """SHA-256 over the files of a folder and their names, but for the manifest."""
    content = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        content.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return content.hexdigest()
