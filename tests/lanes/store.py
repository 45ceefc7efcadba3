"""Stores a small model of the lane that it runs in, for the tests of either: `python tests/lanes/store.py`.

Beside the model: what it says of fifty drawn pictures, as a SavedModel, in bfloat16 and in eight bits, so that the
other lane, mostly not at hand, can be held to it. What both lanes share, the pictures and the encoder that they
train with, is in data.tar.xz. Where that is not there it is made, which is for the older lane to do: its Keras does not
read files of the newer one.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
DATA = HERE / "data.tar.xz"
ENCODER = "encoder.h5"
SAID = "said.json"
FORMS = ("float32", "bf16", "int8")


def lane() -> str:
    """Of this environment, such as 1.21."""
    return metadata.version("tfx").rpartition(".")[0]


def archive_of(lane: str) -> Path:
    return HERE / f"tfx-{lane}.tar.xz"


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def memefly(*arguments: object) -> str:
    command = [sys.executable, "-m", "pipeline.command", *map(str, arguments)]
    return subprocess.run(command, cwd=HERE.parents[1], check=True, stdout=subprocess.PIPE, text=True).stdout


def captions(model: Path, data: Path) -> dict[str, str]:
    """By picture's name, what `memefly caption` says of it."""
    lines = memefly("caption", "--model", model, "--json", *sorted((data / "images").iterdir())).splitlines()
    return {Path(told["image"]).name: told["captions"][0]["caption"] for told in map(json.loads, lines)}


def forms(model: Path, data: Path, folder: Path) -> dict[str, Path]:
    """The model itself and its smaller forms, whatever they cost."""
    made = {"float32": model}
    for precision in FORMS[1:]:
        arguments = ("--precision", precision, "--data", data, "--tolerance", 1, "--calibration", 25)
        memefly("export", "--model", model, "--out", folder / precision, *arguments)
        made[precision] = folder / precision
    return made


def pack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "w:xz") as tar:
        for path in sorted(folder.rglob("*")):
            info = tar.gettarinfo(path, path.relative_to(folder).as_posix())
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            tar.addfile(info, io.BytesIO(path.read_bytes()) if path.is_file() else None)


def make_data(folder: Path) -> None:
    """Fifty memes of 96 pixels, half of them to calibrate with and half to judge by."""
    from memefly.datasets import sample

    sample.generate(folder / "drawn", 50, 1)
    (folder / "data" / "images").mkdir(parents=True)
    with (folder / "data" / "captions.jsonl").open("w") as out:
        for i, line in enumerate((folder / "drawn" / "captions.jsonl").read_text().splitlines()):
            record = json.loads(line)
            picture = Image.open(folder / "drawn" / record["image"]).convert("RGB").resize((96, 96))
            record |= {"image": f"images/{i:02d}.jpg", "split": ("train", "eval")[i % 2]}
            picture.save(folder / "data" / record["image"], quality=80)
            out.write(json.dumps(record) + "\n")


def make_encoder(path: Path) -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    x = inputs = tf_keras.Input((64, 64, 3))
    for filters in (16, 24, 32):
        x = tf_keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    tf_keras.Model(inputs, x).save(path)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not DATA.exists():
            make_data(folder)
            make_encoder(folder / "data" / ENCODER)
            pack(DATA, folder / "data")
        data = unpack(DATA, folder / "unpacked")
        memefly("sample", folder / "memes", "--images", 120)
        settings = ("--config", "tiny", "--set", f"encoder.weights={data / ENCODER}")
        memefly("run", "--data", folder / "memes", "--root", folder / "root", *settings)
        (model,) = (folder / "root" / "serving" / "captioner").iterdir()
        said = {form: captions(path, data) for form, path in forms(model, data, folder).items()}
        metrics = json.loads(memefly("evaluate", "--model", model, "--data", data, "--json"))["metrics"]
        (model / SAID).write_text(json.dumps({"captions": said, "metrics": metrics}, indent=1))
        archive = archive_of(lane())
        pack(archive, model.parent)
        print(f"{archive}: {archive.stat().st_size / 1e3:.0f} kB, {len(set(said['float32'].values()))} captions")


if __name__ == "__main__":
    main()
