"""The one picture decoder and preprocessing, and what a valid picture is.

    >>> picture = read(Path("cat.webp"))          # PictureError says what is wrong with it
    >>> preprocess(picture.data, (299, 299))      # float32 (299, 299, 3) in [-1, 1]

Two stages. `read` and `canonical` run on the host and take anything Pillow opens: what TensorFlow's own decoder
reads alike passes through byte for byte, the rest (WebP, CMYK, 16-bit, transparent, EXIF-rotated, animated) is
written again as a plain PNG. A process apart decodes, within limits of time and memory that `max_pixels` sets: what
a picture costs or breaks stays there (`sandbox`). `preprocess` runs in the graph, in ImageFeatures and in the
exported model both.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from memefly.errors import PictureError, first_line
from memefly.sandbox import LimitError, Limits, Sandbox
from memefly.storage import Place

if TYPE_CHECKING:
    import tensorflow as tf

MAX_PIXELS = 50_000_000  # about 7000 x 7000; above it, a file is taken for a decompression bomb
REASONS = ("missing_picture", "empty_file", "not_a_picture", "truncated", "too_large")
PREPROCESSING = "decode-rgb/bilinear-antialias/[-1,1]/1"  # part of every encoder digest: change it with `preprocess`

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# EPS is a program, which Ghostscript runs; the others hold no pixels that Pillow could read by itself.
_NOT_OPENED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_SCAN, _SCANS = b"\xff\xda", 100  # of a progressive JPEG: each goes over all pixels, and ten are many
_BESIDE = 4_000_000  # bytes of a file that are no pixels: profiles, previews, texts
_sandbox = Sandbox("memefly.images:make_plain")
# A pixel, twice what one takes of a processor and of memory in the costliest modes: CMYK, 16 bits, floats.
_SECONDS, _MEGABYTES = 0.2e-6, 70e-6
_PLAIN = {("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "L"), ("BMP", "RGB")}


@dataclass(frozen=True)
class Picture:
    """A picture fit for the graph. `image_id` is the SHA-256 of the file as it was given, in hex."""

    image_id: str
    data: bytes
    width: int
    height: int
    plain: bool  # `data` are the file's own
    hash: int | None = None  # of how it looks, where that was asked for


def read(path: Place, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads and checks a picture file. Raises `PictureError`."""
    return canonical(read_file(path, max_pixels), max_pixels)


def read_file(path: Place, max_pixels: int = MAX_PIXELS, name: str | None = None) -> bytes:
    """The bytes of a picture file, unchecked; `name` is what it is called in errors, if not by its path. Raises
    `PictureError` where there is no file, and for one that is larger than any picture of `max_pixels`."""
    name = str(path) if name is None else name
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # to read from a pipe may take for ever
            raise PictureError("missing_picture", f"{name} is no file")
        most = 16 * max_pixels + (64 << 20)  # as many bytes as a pixel has in any format, and what else a file may hold
        if found.st_size > most:
            raise PictureError("too_large", f"{name} has {found.st_size:,} bytes; at most {most:,} are read")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError("missing_picture", f"no file {name}") from None
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        told = getattr(error, "strerror", None) or error
        raise PictureError("missing_picture", f"cannot read {name}: {told}") from None


def canonical(
    data: bytes, max_pixels: int = MAX_PIXELS, hash_size: int = 0, as_it_is: bool = True, ask_graph: bool = True
) -> Picture:
    """Checks the bytes of a picture and makes them fit for the graph; with `hash_size` n, also its difference hash of
    n * n bits (imagehash's dhash). Raises `PictureError`. Without `as_it_is` it is written anew in any case: for a
    graph elsewhere that did not read what it should, and could not be asked first, as there is no TensorFlow here; or
    that was not, without `ask_graph`, as it is about to be asked anyway and will say so.

    They are decoded in a process apart: whatever they hold, it costs no more time and memory than `max_pixels` would,
    and harms nobody else.
    """
    if not data:
        raise PictureError("empty_file", "the file has no bytes")
    image_id = hashlib.sha256(data).hexdigest()
    limits = Limits(2 + round(max_pixels * _SECONDS), 500 + round(max_pixels * _MEGABYTES))
    try:
        said, rgb = _sandbox(data, limits, max_pixels=max_pixels, hash_size=hash_size, as_it_is=as_it_is)
        if said.get("plain") and ask_graph and not _graph_decodes(data, said["width"], said["height"]):
            said, rgb = _sandbox(data, limits, max_pixels=max_pixels, hash_size=hash_size, as_it_is=False)
    except LimitError as error:
        if error.limit == "crash":
            raise PictureError("not_a_picture", f"its decoder breaks down ({error})") from None
        raise PictureError("too_large", f"decoding it takes {error}: it holds more than a picture needs") from None
    if "reason" in said:
        raise PictureError(said["reason"], said["detail"])
    looks = int(said["hash"], 16) if hash_size else None
    return Picture(image_id, data if said["plain"] else rgb, said["width"], said["height"], said["plain"], looks)


def start(processes: int) -> None:
    """Has so many decoders ready, which else start when they are wanted first."""
    _sandbox.start(processes)


def make_plain(data: bytes, max_pixels: int, hash_size: int = 0, as_it_is: bool = True) -> tuple[dict, bytes]:
    """What `canonical` does in a process apart: `{"plain": true, "width", "height", "hash"}` for what TensorFlow reads
    as it is (if that may be), the same with `"plain": false` and a PNG for the rest, `{"reason", "detail"}` for what is
    no picture."""
    try:
        with opened(data, max_pixels) as image:
            plain = as_it_is and _is_plain(image, data)
            width, height = image.size
            if plain and not hash_size:  # nobody asks for its pixels here: of a JPEG all is read, an eighth computed
                image.draft(None, (max(1, width // 8), max(1, height // 8)))
            image.load()
            if plain:
                return {"plain": True, "width": width, "height": height} | _looks(image, hash_size), b""
            check_size(image, max_pixels)  # of some formats, what is inside is larger than what the header says
            out = io.BytesIO()
            rgb = to_rgb(image)
            rgb.save(out, format="PNG", compress_level=1)
            said = {"plain": False, "width": rgb.width, "height": rgb.height}
            return said | _looks(rgb, hash_size), out.getvalue()
    except PictureError as error:
        return {"reason": error.reason, "detail": str(error)}, b""


@contextlib.contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture that a file holds, opened and not yet decoded: only for a process apart. Whatever Pillow raises, here
    or while it is used, becomes a `PictureError` that says what is wrong with the file; but a `MemoryError`, which is a
    limit."""
    Image.init()
    formats = [name for name in Image.OPEN if name not in _NOT_OPENED]
    warnings.simplefilter("ignore")  # bombs are judged here, by one limit
    stage = "not_a_picture"
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            check_size(image, max_pixels)
            stage = "truncated"
            yield image
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise PictureError("not_a_picture", "not a picture in a format that can be read") from None
    except Image.DecompressionBombError as error:
        raise PictureError("too_large", str(error)) from None
    except BaseException as error:  # Pillow's plugins raise nearly anything on bytes that are damaged or no picture
        what = "not a picture that can be read" if stage == "not_a_picture" else "the picture breaks off or is damaged"
        raise PictureError(stage, f"{what} ({first_line(error)})") from None


def _looks(image: Image.Image, hash_size: int) -> dict[str, str]:
    if not hash_size:
        return {}
    import imagehash

    return {"hash": str(imagehash.dhash(image, hash_size))}


def check_size(image: Image.Image, max_pixels: int) -> None:
    """Raises `PictureError` for one of more pixels, or of none."""
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError("too_large", f"{width} x {height} pixels; at most {max_pixels:,} are decoded. Scale it down")
    if width < 1 or height < 1:
        raise PictureError("not_a_picture", f"{width} x {height} pixels")


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Whether TensorFlow reads the file as Pillow does: 8 bits, upright, opaque, one frame; and at no more cost than
    its size says."""
    return (
        (image.format, image.mode) in _PLAIN
        and getattr(image, "n_frames", 1) == 1  # of these formats it is in the header; others have to be counted
        and _orientation(image) == 1
        and "transparency" not in image.info
        and data.count(_SCAN) <= _SCANS
        and len(data) <= 8 * image.width * image.height + _BESIDE
    )


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; 1 where it has none that makes sense."""
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # what is damaged there says nothing of the pixels
        return 1
    return found if isinstance(found, int) and found in _UPRIGHT else 1


def is_turned(image: Image.Image) -> bool:
    """Whether width and height change places when it is set upright."""
    return _orientation(image) in (5, 6, 7, 8)


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB, upright, on white where it was transparent; of the frame that the image is at, which after opening is
    the first."""
    turn = _UPRIGHT[_orientation(image)]
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit grey: Pillow's own convert would clip it
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 255.0
        image = Image.fromarray(np.clip(values / top * 255.0 + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("P", "PA") and image.palette is None:  # which Pillow only asserts
        raise ValueError("its palette is missing")
    if image.mode == "LAB":
        lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(space)) for space in ("LAB", "sRGB"))
        return ImageCms.ImageCmsTransform(lab, srgb, "LAB", "RGB").apply(image)
    if image.mode == "La":  # alpha that is multiplied in: Pillow goes only this way
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def _graph_decodes(data: bytes, width: int, height: int) -> bool:
    try:
        import tensorflow as tf
    except ModuleNotFoundError:  # a gateway's: the graph itself says so (`error` of a signature)
        return True
    try:
        return decode(tf.constant(data)).shape[:2] == (height, width)
    except tf.errors.InvalidArgumentError:
        return False


def decode(data: tf.Tensor) -> tf.Tensor:
    """JPEG, PNG, BMP or the first frame of a GIF: string () to uint8 (H, W, 3)."""
    import tensorflow as tf

    image = tf.io.decode_image(data, channels=3, dtype=tf.uint8, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def preprocess(data: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Encoded picture to encoder input: string () to float32 (height, width, 3) in [-1, 1].

    Resized to `size` (height, width) without keeping the aspect ratio, as Show, Attend and Tell's successors do for
    InceptionV3; bilinear, with antialiasing where it shrinks.
    """
    import tensorflow as tf

    image = tf.image.resize(decode(data), size, method="bilinear", antialias=True)  # (height, width, 3)
    return tf.ensure_shape(image, [*size, 3]) / 127.5 - 1.0


def preprocess_batch(data: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """`preprocess` over a batch: string (B,) to float32 (B, height, width, 3)."""
    import tensorflow as tf

    signature = tf.TensorSpec([*size, 3], tf.float32)
    return tf.map_fn(lambda one: preprocess(one, size), data, fn_output_signature=signature, parallel_iterations=4)


def preprocess_each(data: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """`preprocess` over a batch in which some may be no pictures: string (B,) to float32 (B, height, width, 3) and
    bool (B,), false and all zeros for those that cannot be decoded or say of themselves that they are too large.

    One of them would stop the whole batch otherwise, and with it the pictures of whoever else is in it. A graph has no
    way to catch an error but tf.data's.

    What a header declares is what is checked. A GIF's frames may be larger than its header says, and are all decoded:
    from strangers, take pictures through `canonical` first, as this project's own service does.
    """
    import tensorflow as tf

    options = tf.data.Options()  # a pipeline of one batch: whatever would tune it costs more than it brings
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False

    def one(i, picture):
        with tf.control_dependencies([tf.debugging.assert_less_equal(_declared_pixels(picture), limit)]):
            return i, preprocess(picture, size)

    limit, B = tf.constant(MAX_PIXELS, tf.int64), tf.size(data, tf.int64)
    # None at all could not be batched: the first is no picture of anybody's.
    nobody = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.zeros([*size, 3])))
    decoded = tf.data.Dataset.from_tensor_slices((tf.range(B), data)).map(one, num_parallel_calls=2, deterministic=True)
    pipeline = nobody.concatenate(decoded.ignore_errors()).batch(B + 1).with_options(options)
    rows, pictures = pipeline.get_single_element()
    rows = rows[1:, tf.newaxis]
    shape = tf.stack([B, *size, 3])
    fit = tf.scatter_nd(rows, tf.ones_like(rows[:, 0], tf.int32), [B]) > 0
    return tf.ensure_shape(tf.scatter_nd(rows, pictures[1:], shape), [None, *size, 3]), fit


def _declared_pixels(data: tf.Tensor) -> tf.Tensor:
    """Width times height as the file's header has it, int64 (): known before anything is decoded."""
    import tensorflow as tf

    def numbers(position: int, kind: tf.DType, *, big: bool = False):
        width = 2 * kind.size
        return tf.io.decode_raw(tf.strings.substr(data, position, width), kind, little_endian=not big)

    start = tf.strings.substr(data, 0, 2)  # none of them is shorter
    sides = tf.case(
        [
            (tf.equal(start, b"\x89P"), lambda: tf.cast(numbers(16, tf.int32, big=True), tf.int64)),
            (tf.equal(start, b"GI"), lambda: tf.cast(numbers(6, tf.uint16), tf.int64)),
            (tf.equal(start, b"BM"), lambda: tf.cast(numbers(18, tf.int32), tf.int64)),
        ],
        default=lambda: tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64),  # an error if it is no JPEG either
    )
    return tf.reduce_prod(tf.abs(sides))
