"""Writes texts on a picture: a meme.

    >>> meme = render(picture, ["one does not simply", "walk into mordor"], BOXES)
    >>> Path("meme.png").write_bytes(meme.data)

The picture is decoded and written in a process apart, within limits (`memefly.sandbox`). Animations keep moving, at
their own pace, in GIF, WebP and PNG; of anything that the picture's file had beside its pixels nothing is in the meme.
Every text is set as large as its box allows (`typeset`), outlines first and letters over them, so that none covers
another's.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from PIL import Image, ImageCms, ImageColor, ImageSequence

from memefly import images
from memefly.errors import PictureError
from memefly.memes import fonts, shaping, typeset
from memefly.memes.template import BOXES, Box
from memefly.sandbox import LimitError, Limits, Sandbox

Format = Literal["png", "jpeg", "webp", "gif"]
FORMATS: tuple[str, ...] = get_args(Format)
RENDERER = 2  # another number where the same words on the same picture look otherwise than before
MEDIA_TYPES = {name: f"image/{name}" for name in FORMATS}
MARK = "made by memefly, a machine"
SMALLEST, LARGEST = 64, 4096  # pixels, of a meme's longer side
MAX_FRAMES = 300
MAX_ANIMATED = 60_000_000  # pixels of all frames of an animation together, as they are written
MAX_TEXT = 500  # characters of a box

_READABLE = 0.026, 9  # an em is at least this share of a picture's longer side, and so many pixels
_MARK_SIZE = 0.018, 8
_INSET, _PADDING = 0.012, 0.008  # of the longer side: around the mark; inside of a box, at its edges
_SANDBOX = Sandbox("memefly.memes.render:render_apart")
_SECONDS, _MEGABYTES = 1.5e-6, 120e-6  # a pixel, decoded, written on and encoded


@dataclass(frozen=True)
class Written:
    """What came of the text of a box: `size` of an em in pixels, 0 where nothing is written; `shortened` where an
    ellipsis stands for its end; `left_out` are the characters that no font has."""

    text: str
    size: int
    lines: int
    shortened: bool
    left_out: str
    filled: float  # the share of the box's area that the text's rectangle takes


@dataclass(frozen=True)
class Meme:
    """`alt` says in words what it shows, for who cannot see it."""

    data: bytes
    format: str
    width: int
    height: int
    frames: int
    alt: str
    written: tuple[Written, ...] = field(default=())

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


def render(
    picture: bytes,
    texts: Sequence[str],
    boxes: Sequence[Box] = BOXES,
    *,
    format: Format | None = None,
    size: int | None = None,
    mark: bool = False,
    name: str = "",
    quality: int = 88,
    max_pixels: int = images.MAX_PIXELS,
    seconds: float | None = None,
) -> Meme:
    """Writes each text in its box, in their order.

    `format` is by default the picture's own, and PNG where that is none of them; `size` is the longer side in pixels,
    by default the picture's own within `SMALLEST` and `LARGEST`; `mark` says in a corner that a model wrote it; the
    `name` of the picture goes into `alt`; `quality` is of JPEG and WebP. Raises `PictureError` as
    `memefly.images.canonical` does, and ValueError for what no meme can be made of: more texts than boxes, a text above
    `MAX_TEXT` characters, a size or a format that there is not.
    """
    if len(texts) > len(boxes):
        raise ValueError(f"{len(texts)} texts for {len(boxes)} boxes; expected one for each at most")
    for text in texts:
        if len(text) > MAX_TEXT:
            raise ValueError(f"a text of {len(text)} characters; a box takes {MAX_TEXT} at most")
    if format is not None and format not in FORMATS:
        raise ValueError(f"expected a format among {', '.join(FORMATS)}, got {format!r}")
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise ValueError(f"expected a size from {SMALLEST} to {LARGEST} pixels, got {size}")
    if not picture:
        raise PictureError("empty_file", "the file has no bytes")
    pixels = max_pixels + (size or LARGEST) ** 2 // 2 + MAX_ANIMATED // 4
    limits = Limits(round(seconds or 4 + pixels * _SECONDS), 500 + round(pixels * _MEGABYTES))
    try:
        said, data = _SANDBOX(
            picture, limits, texts=list(texts), boxes=[box.model_dump() for box in boxes[: len(texts)]],
            format=format, size=size, mark=mark, quality=quality, max_pixels=max_pixels,
        )  # fmt: skip
    except LimitError as error:
        if error.limit == "crash":
            raise PictureError("not_a_picture", f"its decoder breaks down ({error})") from None
        raise PictureError(
            "too_large", f"making a meme of it takes {error}: it holds more than a picture needs"
        ) from None
    if "reason" in said:
        raise PictureError(said["reason"], said["detail"])
    written = tuple(Written(**one) for one in said.pop("written"))
    return Meme(data=data, alt=alt_text([one.text for one in written], name), written=written, **said)


def alt_text(texts: Sequence[str], name: str = "") -> str:
    """What a meme shows, in words."""
    said = " / ".join(" ".join(text.split()) for text in texts if text.strip())
    about = f"Meme “{name}”" if name else "Meme"
    return f"{about}: {said}" if said else about


def start(processes: int) -> None:
    """Has so many processes ready, which else start when they are wanted first."""
    _SANDBOX.start(processes)


# --- in a process apart -----------------------------------------------------------------------------------------------


def render_apart(
    data: bytes,
    texts: list[str],
    boxes: list[dict],
    format: str | None,
    size: int | None,
    mark: bool,
    quality: int,
    max_pixels: int,
) -> tuple[dict[str, Any], bytes]:
    """What `render` does in a process apart: the fields of a `Meme`, or `{"reason", "detail"}`, as JSON has them."""
    try:
        with images.opened(data, max_pixels) as image:
            bare = _decoded(image, format, size)
    except PictureError as error:
        return {"reason": error.reason, "detail": str(error)}, b""
    width, height = bare.frames[0].size
    layers, written = [], []
    free = height - _height_of_mark(width, height) if mark else height
    for text, box in zip(texts, boxes):
        layer, one = _write(text, Box(**box), width, height, free)
        written.append(asdict(one))
        if layer:
            layers.append(layer)
    if mark and (small := _mark(width, height)):
        layers.append(small)
    for frame in bare.frames:
        for picture, place in layers:
            frame.paste(picture, place, picture)
    said = {"format": bare.format, "width": width, "height": height, "frames": len(bare.frames), "written": written}
    return said, _encoded(bare, quality)


@dataclass(frozen=True)
class _Bare:
    """A picture as it is to be written on: RGB in sRGB, upright, of the meme's size. `durations` are of frames, in
    milliseconds; `loop` says how often they come, as Pillow has it."""

    format: str
    frames: list[Image.Image]
    durations: list[int]
    loop: int | None


def _decoded(image: Image.Image, format: str | None, size: int | None) -> _Bare:
    own = (image.format or "").lower()
    frames = getattr(image, "n_frames", 1) if own in _ANIMATED and format != "jpeg" else 1
    if frames > MAX_FRAMES:
        raise PictureError("too_large", f"an animation of {frames} frames; at most {MAX_FRAMES} are written on")
    chosen = format or ("gif" if frames > 1 and own == "gif" else own if own in ("jpeg", "webp") else "png")
    turned = images.is_turned(image)
    width, height = _measures((image.height, image.width) if turned else image.size, size, frames)

    def finished(frame: Image.Image) -> Image.Image:
        rgb = _in_srgb(images.to_rgb(frame), frame.info.get("icc_profile"))
        if rgb.size == (width, height):
            return rgb
        smaller = rgb.width > width  # to make one larger, bicubic is as good and faster
        how = Image.Resampling.LANCZOS if smaller else Image.Resampling.BICUBIC
        return rgb.resize((width, height), how, reducing_gap=3.0 if smaller else None)

    if frames == 1:
        if own == "jpeg":
            image.draft("RGB", (height, width) if turned else (width, height))  # decodes it smaller, where that will do
        image.load()
        return _Bare(chosen, [finished(image)], [], None)
    found: list[Image.Image] = []
    durations: list[int] = []
    try:
        for frame in ImageSequence.Iterator(image):
            frame.load()  # of WebP, what is said of a frame is known only then
            found.append(finished(frame.copy()))
            durations.append(max(20, int(frame.info.get("duration") or 100)))  # faster ones no browser shows
    except MemoryError:
        raise
    except Exception:  # whatever Pillow raises on what is damaged: browsers show the frames before it
        if not durations:
            raise
        del found[len(durations) :]
    # As often as before: GIF says nothing for once, the others 0 for ever.
    return _Bare(chosen, found, durations, image.info.get("loop", None if image.format == "GIF" else 0))


_ANIMATED = ("gif", "webp", "png")


def _measures(own: tuple[int, int], size: int | None, frames: int) -> tuple[int, int]:
    """Width and height of a meme."""
    longer = max(own)
    wanted = size or min(max(longer, SMALLEST), LARGEST)
    if frames > 1:
        most = math.sqrt(MAX_ANIMATED / frames * longer / min(own))
        if most < SMALLEST:
            raise PictureError("too_large", f"an animation of {frames} frames is more than is written on")
        wanted = min(wanted, int(most))
    return max(1, round(own[0] * wanted / longer)), max(1, round(own[1] * wanted / longer))


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as they are meant; the profile of them goes, with all else that the file said of itself."""
    if not profile:
        return image
    try:
        told = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(told, srgb, "RGB", "RGB").apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError):  # damaged, or of another space: the pixels are as good as before
        return image


def _encoded(meme: _Bare, quality: int) -> bytes:
    out, frames = io.BytesIO(), meme.frames
    how: dict[str, Any] = {}
    if len(frames) > 1:
        if meme.format == "gif":
            frames = [frame.quantize(256, method=Image.Quantize.FASTOCTREE) for frame in frames]
        how = {"save_all": True, "append_images": frames[1:], "duration": meme.durations}
        if meme.loop is not None or meme.format != "gif":
            how["loop"] = 1 if meme.loop is None else meme.loop
    if meme.format == "jpeg":
        how |= {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif meme.format == "webp":
        how |= {"quality": quality, "method": 1}
    elif meme.format == "png" and len(frames) == 1:
        how |= {"compress_level": 2}
    frames[0].save(out, format=meme.format.upper(), **how)
    return out.getvalue()


# --- the words --------------------------------------------------------------------------------------------------------

Layer = tuple[Image.Image, tuple[int, int]]  # RGBA, and where its upper left corner goes


def _write(text: str, box: Box, width: int, height: int, free: int) -> tuple[Layer | None, Written]:
    """A text as a layer; nothing where there is nothing to write. `free` is how much of the picture's height it may
    have."""
    style = box.style
    shown = fonts.printable(fonts.capitals(text) if style.upper else text).strip()
    left_out = fonts.lacking(shown, style.font)
    inset = _PADDING * max(width, height)
    across = max(1.0, box.width * width - 2 * inset)
    left, top = box.x * width + inset, box.y * height + inset
    down = max(1.0, min(box.height * height - 2 * inset, free - top))
    smallest = max(_READABLE[1], round(_READABLE[0] * max(width, height)))
    space = typeset.Space(across, down)
    largest = max(smallest, round(style.largest * height))
    outline = typeset.OUTLINE if style.outline != "none" else 0.0
    try:
        block = typeset.fit(shown, space, smallest=smallest, largest=largest, family=style.font, outline=outline)
    except ValueError:  # a box for no letter: the text is left out, and told
        return None, Written(text, 0, 0, True, left_out, 0.0)
    if not block.lines:
        return None, Written(text, 0, 0, False, left_out, 0.0)
    said = Written(text, block.size, len(block.lines), block.shortened, left_out, _filled(block, space))
    wide, high = math.ceil(block.width), math.ceil(block.height)
    x = {"left": 0.0, "center": (across - wide) / 2, "right": across - wide}[box.align]
    y = {"top": 0.0, "middle": (down - high) / 2, "bottom": down - high}[box.anchor]
    layer = _drawn(block, style.colour, style.outline, box.align, wide, high)
    if not box.angle:
        return (layer, (round(left + x), round(top + y))), said
    # It turns around the middle of its box.
    whole = Image.new("RGBA", (math.ceil(across), math.ceil(down)), _ground(style.colour, style.outline))
    whole.paste(layer, (round(x), round(y)))
    turned = whole.rotate(box.angle, resample=Image.Resampling.BICUBIC, expand=True)
    middle = left + across / 2, top + down / 2
    place = [
        max(0, min(round(at - side / 2), whole - side)) if side <= whole else round(at - side / 2)  # on the picture
        for at, side, whole in zip(middle, turned.size, (width, height))
    ]
    return (turned, (place[0], place[1])), said


def _filled(block: typeset.Block, space: typeset.Space) -> float:
    return round(block.width * block.height / (space.width * space.height), 4)


def _drawn(block: typeset.Block, colour: str, outline: str, align: str, wide: int, high: int) -> Image.Image:
    """A block as RGBA (high, wide), transparent around letters."""
    layer = Image.new("RGBA", (wide, high), _ground(colour, outline))
    letters: list[shaping.Placed] = []
    emoji: list[shaping.Placed] = []
    baseline = block.outline + block.ascent
    for line in block.lines:
        rest = wide - 2 * block.outline - line.width
        x = block.outline + {"left": 0.0, "center": rest / 2, "right": rest}[align]
        for run in line.runs:
            (emoji if run.face.is_emoji else letters).append((run, x, baseline))
            x += shaping.width([run], block.size)
        baseline += block.leading
    for ink, around in ((outline, block.outline), (colour, 0)):
        if ink != "none":
            layer.paste(ink, (0, 0), Image.fromarray(shaping.mask((wide, high), letters, block.size, around)))
    for run, x, y in emoji:
        for picture, right, down in shaping.emoji(run, block.size):
            layer.alpha_composite(picture, (max(0, round(x + right)), max(0, round(y + down))))
    return layer


def _ground(colour: str, outline: str) -> tuple[int, int, int, int]:
    """Transparent, in the colour of the edge of letters: what is covered by half has no other colour in it."""
    red, green, blue = ImageColor.getrgb(outline if outline != "none" else colour)[:3]
    return red, green, blue, 0


def _size_of_mark(width: int, height: int) -> int:
    return max(_MARK_SIZE[1], round(_MARK_SIZE[0] * max(width, height)))


def _height_of_mark(width: int, height: int) -> int:
    """What is kept free for it, at the lower edge."""
    return round(1.3 * _size_of_mark(width, height) + _INSET * max(width, height))


def _mark(width: int, height: int) -> Layer | None:
    """In the lower right corner, half transparent; none on a picture that is too narrow for it."""
    size, inset = _size_of_mark(width, height), round(_INSET * max(width, height))
    space = typeset.Space(max(1.0, width - 2 * inset), 2.0 * size)
    try:
        block = typeset.fit(MARK, space, smallest=4, largest=size, family=fonts.SANS, outline=1 / 8)
    except ValueError:
        return None
    layer = _drawn(block, "white", "black", "right", math.ceil(block.width), math.ceil(block.height))
    layer.putalpha(layer.getchannel("A").point(lambda alpha: alpha * 3 // 4))
    return layer, (width - inset - layer.width, height - inset // 2 - layer.height)
