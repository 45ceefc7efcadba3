"""`memefly.json`, which says what an exported model is, and the digests in it. Imports no TensorFlow by itself.

>>> read_manifest(newest_version("root/serving/captioner"))["metrics"]["eval"]["bleu4"]
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from memefly import storage
from memefly.errors import ModelError
from memefly.provenance import file_digest
from memefly.storage import Place

log = logging.getLogger("memefly.model")

MANIFEST = "memefly.json"
MODEL_NAME = "captioner"
STATISTICS = "assets.extra/statistics.pb"  # of what it was trained on, as TFDV writes them; without the captions
LAST = ("saved_model.pb", MANIFEST)  # of its files, where they appear one by one
SIGNATURES = ("serving_default", "decode", "explain", "evaluate")


def is_lite(manifest: Mapping) -> bool:
    """Whether the model is one for LiteRT (`memefly.exported.lite`), and no SavedModel."""
    return manifest.get("precision") in ("int8", "fp32")


def read_manifest(folder: str | Place) -> dict:
    """What `memefly.json` says. Raises `ModelError` where the folder holds no exported model."""
    path = storage.at(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a model of memefly: no {MANIFEST} in it. Expected a version folder such as "
            "ROOT/serving/captioner/1700000000, or the captioner folder above it"
        ) from None
    except NotADirectoryError:
        raise ModelError(f"{folder} is a file; expected the folder of an exported model") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise ModelError(f"{path} is damaged ({error})") from None
    if not isinstance(manifest, dict):
        raise ModelError(f"{path} is damaged: expected an object, got {type(manifest).__name__}")
    return manifest


def write_manifest(folder: Path, manifest: dict) -> None:
    """Writes `memefly.json`, last of all: it gains `files`, the size and SHA-256 of every other file in the folder."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    content = json.dumps({**manifest, "files": files}, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(content, encoding="utf-8")


def damage(folder: str | Place, contents: bool = False) -> str:
    """What is wrong with the files of an exported model, in a few words; empty where nothing is. With `contents` every
    byte of them is read, else their sizes are looked at."""
    folder = storage.at(folder)
    try:
        manifest = read_manifest(folder)
    except (ModelError, OSError) as error:
        return f"no {MANIFEST} in it" if not (folder / MANIFEST).is_file() else str(error)
    files = manifest.get("files")
    if files is None:  # of a memefly that did not list them yet
        graph = any((folder / name).is_file() for name in ("saved_model.pb", "encoder.tflite"))
        return "" if graph else "no SavedModel in it: saved_model.pb is gone"
    for name, wanted in files.items():
        try:
            size = (folder / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is gone"
        if size != wanted["bytes"]:
            return f"{name} has {size:,} bytes, and had {wanted['bytes']:,}"
        if contents and file_digest(folder / name) != wanted["sha256"]:
            return f"{name} is not what was written"
    return ""


def manifest_of_smaller(manifest: dict, precision: str) -> dict:
    """Of a smaller form of a model: what was measured of the model, and its blessing, are not the small one's."""
    kept = {k: v for k, v in manifest.items() if k != "blessed"}
    return kept | {"precision": precision, "of": manifest["digest"], "metrics": {}}


def versions(folder: str | Place) -> list[Place]:
    """The version folders in a folder of versions, newest first, whole or not."""
    folder = storage.at(folder)
    found = [p for p in folder.iterdir() if _is_version(p)] if folder.is_dir() else []
    return sorted(found, key=lambda p: int(p.name), reverse=True)


def newest_whole(folder: str | Place, contents: bool = False) -> Place | None:
    """The newest of the versions in a folder whose files are as they were written (`contents` as `damage` has it); None
    where there is none."""
    for version in versions(folder):
        wrong = damage(version, contents)
        if not wrong:
            return version
        log.warning("version %s in %s is no whole model (%s): passed over", version.name, folder, wrong)
    return None


def newest_version(folder: str | Place) -> Place:
    """`folder` itself where it is a model, else the whole one of its versions with the highest number; what is newer
    and not whole is told of and passed over. Raises `ModelError`."""
    folder = storage.at(folder)
    if (folder / MANIFEST).is_file():
        return folder
    passed_over: list[str] = []
    for version in versions(folder):
        wrong = damage(version)
        if not wrong:
            for told in passed_over:
                log.warning("passes over version %s", told)
            return version
        passed_over.append(f"{version.name}, which is no whole model of memefly: {wrong}")
    if passed_over:
        raise ModelError(
            f"none of the versions in {folder} is whole, and what is not whole does not load as a SavedModel: "
            f"{'; '.join(passed_over)}. Run the pipeline again, which pushes a whole one"
        )
    read_manifest(folder)  # raises, and says what was expected
    raise AssertionError("unreachable")


def _is_version(path: Place) -> bool:
    return path.is_dir() and re.fullmatch(r"[0-9]{1,18}", path.name) is not None


def model_digest(folder: Place) -> str:
    """SHA-256 over the weights of a SavedModel, the numbers in its graph, and its vocabulary; names and times do not
    enter."""
    import numpy as np
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


def _constants(folder: Place) -> list[bytes]:
    """The arrays of floats in the functions of a SavedModel, among them the encoder's biases."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    tensors = (n.attr["value"].tensor for f in functions for n in f.node_def if n.op == "Const")
    return [t.tensor_content for t in tensors if tf.as_dtype(t.dtype).is_floating and t.tensor_content]


def files_digest(folder: Place) -> str:
    """SHA-256 over the files of a folder and their names, but for the manifest."""
    content = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        content.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return content.hexdigest()
