"""Pictures that are odd or damaged, from a seed: EXIF, palettes, chunks, frames and modes, and bits turned, in every
format that Pillow writes.

>>> made = draw(seed=7)
>>> made.data, made.what, made.sound          # sound: it has to be accepted, and to look like `made.picture`
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

from stress.bombs import chunk, encoded, gif_parts, webp_chunk

MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "RGBX",
    "I;16",
    "La",
    "RGBa",
)
# Formats that Pillow writes and reads, and which of them lose nothing of RGB.
FORMATS = (
    "AVIF", "BLP", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP", "PCX", "PNG",
    "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM",
)  # fmt: skip
LOSSLESS = ("BMP", "IM", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF")
FRAMES = ("GIF", "PNG", "TIFF", "WEBP", "MPO", "AVIF")
_TURNS = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes by TIFF's type


@dataclass(frozen=True)
class Made:
    what: str
    data: bytes
    sound: bool = False
    picture: Image.Image | None = None  # RGB, where it can be known to the last bit


def draw(seed: int) -> Made:
    drawer = random.Random(seed)
    return drawer.choice(KINDS)(drawer)


def picture(drawer: random.Random, mode: str = "RGB") -> Image.Image:
    """Of few colours and odd sizes."""
    size = drawer.randint(2, 40), drawer.randint(2, 40)
    image = Image.new("RGB", size, tuple(drawer.randrange(256) for _ in range(3)))
    for _ in range(4):
        left, top = drawer.randrange(size[0]), drawer.randrange(size[1])
        image.paste(tuple(drawer.randrange(256) for _ in range(3)), (left, top, left + 9, top + 9))
    return as_mode(image, mode)


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode in ("La", "PA", "RGBa"):
        return image.convert({"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "I;16":
        return image.convert("L").convert("I").convert(mode)
    if mode == "LAB":
        return Image.merge("LAB", [band.convert("L") for band in image.split()])
    return image.convert(mode)


def exif_tags(drawer: random.Random, orientation: int, order: str) -> bytes:
    """EXIF that says its orientation, among tags whose values are anything: negative, divided by nothing, of the wrong
    type or number."""
    tags = {274: (3, 1, struct.pack(order + "H", orientation))}
    for number in drawer.sample([256, 271, 282, 283, 296, 305, 306, 531, 33432, 37510, 40961, 41986, 42016], 5):
        kind, count = drawer.choice(list(_SIZES)), drawer.choice([0, 1, 1, 2, 5])
        tags[number] = (kind, count, drawer.randbytes(_SIZES[kind] * count))
    tags[282] = (10, 1, struct.pack(order + "ii", -drawer.randint(1, 9), drawer.randint(-3, 3)))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    entries, rest, place = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for number, (kind, count, value) in sorted(tags.items()):
        where = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", place + len(rest))
        rest += value if len(value) > 4 else b""
        entries += struct.pack(order + "HHI", number, kind, count) + where
    return head + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0) + rest


def odd_exif(drawer: random.Random) -> Made:
    """A sound picture, turned as its EXIF says, whatever else that holds."""
    image, turn = picture(drawer), drawer.randint(1, 8)
    format = drawer.choice(("PNG", "JPEG", "WEBP"))
    exif = b"Exif\0\0" + exif_tags(drawer, turn, drawer.choice("<>"))
    data = encoded(image, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    upright = image if _TURNS[turn] is None else image.transpose(_TURNS[turn])
    return Made(f"odd EXIF, {format}", data, True, upright if format != "JPEG" else Image.new("RGB", upright.size))


def damaged_exif(drawer: random.Random) -> Made:
    """EXIF with bits turned: of the picture itself nothing is lost."""
    exif = bytearray(exif_tags(drawer, drawer.randint(0, 9), drawer.choice("<>")))
    for _ in range(drawer.randint(1, 30)):
        exif[drawer.randrange(len(exif))] ^= 1 << drawer.randrange(8)
    if drawer.random() < 0.3:
        del exif[drawer.randrange(len(exif)) :]
    format = drawer.choice(("PNG", "JPEG", "WEBP"))
    image = picture(drawer)
    if format == "PNG":
        data = encoded(image, "PNG")
        return Made("damaged EXIF, PNG", data[:33] + chunk(b"eXIf", bytes(exif)) + data[33:], True)
    return Made(f"damaged EXIF, {format}", encoded(image, format, exif=b"Exif\0\0" + bytes(exif)), True)


def palettes(drawer: random.Random) -> Made:
    """Palettes too short for their pixels, and transparency of what is not there."""
    image = picture(drawer).quantize(drawer.choice((2, 7, 16, 200)))
    data = encoded(image, "PNG")
    place = data.index(b"PLTE") - 4
    length = struct.unpack(">I", data[place : place + 4])[0]
    entries = data[place + 8 : place + 8 + length]
    cut = entries[: 3 * drawer.randint(0, len(entries) // 3)] + drawer.choice((b"", b"\1"))
    parts = chunk(b"PLTE", cut)
    if drawer.random() < 0.5:
        parts += chunk(b"tRNS", drawer.randbytes(drawer.choice((0, 1, 5, 256, 300))))
    return Made("palette, PNG", data[:place] + parts + data[place + 12 + length :])


def png_chunks(drawer: random.Random) -> Made:
    """Chunks of any kind and content before the pixels."""
    image = picture(drawer, drawer.choice(("L", "RGB", "RGBA", "P", "1")))
    data = encoded(image, "PNG")
    kinds = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"zTXt", b"tEXt", b"iTXt", b"pHYs", b"acTL", b"fcTL", b"fdAT",
             b"eXIf", b"tIME", b"bKGD", b"sBIT", b"hIST", b"IHDR", b"PLTE", b"IEND", b"vpAg", b"ZZZZ",
             b"\0\0\0\0")  # fmt: skip
    parts = b"".join(
        chunk(drawer.choice(kinds), drawer.randbytes(drawer.choice((0, 1, 4, 13, 26, 80)))) for _ in range(3)
    )
    return Made("chunks, PNG", data[:33] + parts + data[33:])


def jpeg_segments(drawer: random.Random) -> Made:
    data = encoded(picture(drawer, drawer.choice(("L", "RGB", "CMYK"))), "JPEG", progressive=drawer.random() < 0.3)
    starts = (
        b"",
        b"Exif\0\0",
        b"JFIF\0",
        b"ICC_PROFILE\0",
        b"Adobe\0",
        b"MPF\0",
        b"http://ns.adobe.com/xap/1.0/\0",
        b"Photoshop 3.0\0",
    )
    parts = b""
    for _ in range(drawer.randint(1, 4)):
        body = drawer.choice(starts) + drawer.randbytes(drawer.choice((0, 2, 14, 60, 300)))
        parts += (
            struct.pack(">BBH", 0xFF, drawer.choice((*range(0xE0, 0xF0), 0xFE, 0xDD, 0xC4, 0xDB)), len(body) + 2) + body
        )
    return Made("segments, JPEG", data[:2] + parts + data[2:])


def gif_blocks(drawer: random.Random) -> Made:
    head, frame = gif_parts()
    parts = b""
    for _ in range(drawer.randint(1, 4)):
        body = drawer.randbytes(drawer.randint(0, 40))
        parts += b"!" + drawer.choice((b"\xf9", b"\xfe", b"\xff", b"\x01", b"\x00")) + bytes([len(body)]) + body + b"\0"
    return Made("blocks, GIF", head + parts + frame + b";")


def webp_chunks(drawer: random.Random) -> Made:
    data = encoded(picture(drawer), "WEBP", lossless=drawer.random() < 0.5)
    kinds = (b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ", b"ZZZZ")
    parts = b"".join(webp_chunk(drawer.choice(kinds), drawer.randbytes(drawer.randint(0, 40))) for _ in range(3))
    body = data[8:12] + (parts + data[12:] if drawer.random() < 0.5 else data[12:] + parts)
    return Made("chunks, WEBP", b"RIFF" + struct.pack("<I", len(body)) + body)


def tiff_tags(drawer: random.Random) -> Made:
    """A tag of any type, number and length in the place of one that was there."""
    compression = drawer.choice((None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"))
    data = bytearray(encoded(picture(drawer), "TIFF", compression=compression))
    start = struct.unpack("<I", data[4:8])[0]
    (tags,) = struct.unpack_from("<H", data, start)
    for _ in range(drawer.randint(1, 3)):
        place = start + 2 + 12 * drawer.randrange(tags)
        (number,) = struct.unpack_from("<H", data, place)
        value = drawer.choice((0, 1, 2, 3, 8, 255, 65535, 1 << 31, (1 << 32) - 1))
        count = drawer.choice((0, 1, 2, 3, 1000, (1 << 32) - 1))
        kept = number if drawer.random() < 0.8 else drawer.choice(list(TiffImagePlugin.TiffTags.TAGS_V2))
        struct.pack_into("<HHII", data, place, kept, drawer.randrange(14), count, value)
    return Made(f"tags, TIFF {compression or 'plain'}", bytes(data))


def frames(drawer: random.Random) -> Made:
    """An animation, or pages: its first frame is what it is. Then with bits turned."""
    format = drawer.choice(FRAMES)
    first = picture(drawer)
    others = [first.rotate(90 * i).resize(first.size) for i in range(1, drawer.randint(2, 4))]
    options = {"lossless": True} if format == "WEBP" else {"duration": 10} if format in ("GIF", "PNG") else {}
    data = encoded(first, format, save_all=True, append_images=others, **options)
    if drawer.random() < 0.5:
        known = first if format in ("PNG", "TIFF", "WEBP") else Image.new("RGB", first.size)
        return Made(f"frames, {format}", data, True, known)
    return Made(f"frames, {format}, mutated", mutate(data, drawer))


def modes(drawer: random.Random) -> Made:
    """Every mode in every format that takes it."""
    while True:
        format, mode = drawer.choice(FORMATS), drawer.choice(MODES)
        image = picture(drawer, mode)
        try:
            data = encoded(
                image, format, **({"no_jp2": True} if format == "JPEG2000" and drawer.random() < 0.5 else {})
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        try:
            with Image.open(io.BytesIO(data)) as again:
                again.load()
                assert again.mode != "P" or again.palette
        except (OSError, AssertionError):  # Pillow does not read all that it writes
            return Made(f"mode {mode}, {format}", data)
        known = image if mode == "RGB" and format in LOSSLESS else None
        return Made(f"mode {mode}, {format}", data, True, known)


def mutants(drawer: random.Random) -> Made:
    made = modes(drawer)
    return Made(f"mutated {made.what.split(', ')[-1]}", mutate(made.data, drawer))


def nothing(drawer: random.Random) -> Made:
    heads = (
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0",
        b"8BPS",
        b"<svg>",
    )
    return Made("no picture", drawer.choice(heads) + drawer.randbytes(drawer.choice((0, 1, 10, 200, 3000))))


def mutate(data: bytes, drawer: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(drawer.randint(1, 3)):
        if not changed:
            break
        place = drawer.randrange(len(changed))
        match drawer.randrange(5):
            case 0:  # bits turned
                for _ in range(drawer.randint(1, 10)):
                    changed[drawer.randrange(len(changed))] ^= 1 << drawer.randrange(8)
            case 1:  # cut short
                del changed[place:]
            case 2:  # a piece lost
                del changed[place : place + drawer.randint(1, 50)]
            case 3:  # a header that promises much
                for _ in range(4):
                    changed[drawer.randrange(min(60, len(changed)))] = drawer.choice((0, 0x7F, 0xFF))
            case 4:  # a piece twice
                changed[place:place] = changed[place : place + drawer.randint(1, 200)]
    return bytes(changed)


KINDS: tuple[Callable[[random.Random], Made], ...] = (
    odd_exif, damaged_exif, palettes, png_chunks, jpeg_segments, gif_blocks, webp_chunks, tiff_tags, frames, modes,
    mutants, nothing,
)  # fmt: skip


def outcome(made: Made) -> tuple[str, str]:
    """What the decoder makes of it: "right", or a reason and its detail. Raises `AssertionError` where it is wrong."""
    import numpy as np
    import tensorflow as tf

    from memefly import images
    from memefly.errors import PictureError

    try:
        found = images.canonical(made.data)
    except PictureError as error:
        assert error.reason in images.REASONS, error.reason
        assert not made.sound, f"{made.what} is sound, and was refused: {error.reason}: {error}"
        assert "0x" not in str(error) and "object at" not in str(error) and "\n" not in str(error), str(error)
        return error.reason, str(error)
    pixels = images.decode(tf.constant(found.data)).numpy()
    assert pixels.shape == (found.height, found.width, 3), f"{made.what}: {pixels.shape} {found.width} {found.height}"
    if made.picture is not None:
        assert (found.width, found.height) == made.picture.size, f"{made.what}: {found.width} x {found.height}"
        if made.picture.getextrema() != ((0, 0),) * 3:
            np.testing.assert_array_equal(pixels, np.asarray(made.picture), made.what)
    return "right", ""
