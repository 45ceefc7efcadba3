"""Small files that cost much, one or more of each format that has frames, chunks or tiles.

>>> data = BOMBS["TIFF pages"]()
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

GREY = Image.new("L", (16, 16), 128)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format=format, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, size: tuple[int, int] = (16, 16), pixels: bytes | None = None) -> bytes:
    """Grey, 8 bits; `chunks` before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"\0" * ((size[0] + 1) * size[1])) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def tiff(*tags: tuple[int, int, int, int], rest: bytes = b"", next_page: int = 0) -> bytes:
    """`tags`: number, type, count, value or offset, which counts from the file's beginning."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_page) + rest


PLAIN_TIFF = ((256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1))


def tiff_pages(pages: int = 25_000) -> bytes:
    """A page of 16 x 16, and then pages of nothing."""
    first = encoded(GREY, "TIFF")
    start = struct.unpack("<I", first[4:8])[0]
    (tags,) = struct.unpack_from("<H", first, start)
    end = start + 2 + 12 * tags
    place = len(first) + len(first) % 2
    empty = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", 256 + i, 3, 1, 1) for i in range(9))
    size = len(empty) + 4
    rest = b"".join(empty + struct.pack("<I", place + (i + 1) * size if i + 1 < pages else 0) for i in range(pages))
    return first[:end] + struct.pack("<I", place) + first[end + 4 :] + b"\0" * (len(first) % 2) + rest


def tiff_tags() -> bytes:
    """Twenty thousand tags, each of which says that its value is the whole rest of the file."""
    count = 20_000
    length = 2_000_000
    others = [(1000 + i, 7, length, 8 + 2 + 12 * (count + 8) + 4) for i in range(count)]
    return tiff(*PLAIN_TIFF, (273, 4, 1, 8), (279, 4, 1, 256), *others, rest=b"\0" * length)


def tiff_tiles() -> bytes:
    """A picture of 7,000 x 7,000 in tiles of 16 x 16, none of them there."""
    tiles = (7000 // 16 + 1) ** 2
    tags = [tag for tag in PLAIN_TIFF if tag[0] not in (256, 257)]
    place = 8 + 2 + 12 * (len(tags) + 6) + 4
    tags += [(256, 3, 1, 7000), (257, 3, 1, 7000), (322, 3, 1, 16), (323, 3, 1, 16)]
    tags += [(324, 4, tiles, place), (325, 4, tiles, place + 4 * tiles)]
    return tiff(*tags, rest=struct.pack("<I", place) * tiles + struct.pack("<I", 256) * tiles)


def gif_parts() -> tuple[bytes, bytes]:
    """The head and the one frame of a GIF, without its end."""
    plain = encoded(GREY, "GIF")
    place = 13 + (3 * 2 ** ((plain[10] & 7) + 1) if plain[10] & 0x80 else 0)
    return plain[:place], plain[place:-1]


def gif_comments() -> bytes:
    """Five megabytes of comment before the first frame."""
    head, frame = gif_parts()
    return head + b"!\xfe" + (b"\xff" + b"a" * 255) * 20_000 + b"\0" + frame + b";"


def gif_frames() -> bytes:
    head, frame = gif_parts()
    return head + frame * 60_000 + b";"


def gif_large_frame() -> bytes:
    """A screen of 16 x 16 with a frame of 65,000 x 65,000."""
    head, frame = gif_parts()
    place = frame.index(b",\0\0\0\0") + 5
    return head + frame[:place] + struct.pack("<HH", 65_000, 65_000) + frame[place + 4 :] + b";"


def png_chunks() -> bytes:
    return png(chunk(b"teSt", b"") * 1_500_000)


def png_texts() -> bytes:
    """Each text is a thousand times as long as it is written."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 1_000_000, 9))
    return png(text * 500)


def png_profile() -> bytes:
    return png(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 1_000_000_000, 9)))


def png_pixels() -> bytes:
    """Far more pixels than its header says."""
    return png(pixels=zlib.compress(b"\0" * 500_000_000, 9))


def png_frames() -> bytes:
    frames = [Image.new("L", (8, 8), i % 256) for i in range(3)]
    plain = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=10)
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 8, 8, 0, 0, 1, 100, 0, 0))
    return plain[:-12] + control * 400_000 + plain[-12:]


def png_size() -> bytes:
    return png(size=(30_000, 30_000), pixels=zlib.compress(b"\0" * 1000))


def jpeg_markers() -> bytes:
    plain = encoded(GREY, "JPEG")
    return plain[:2] + b"\xff\xe5\x00\x02" * 3_000_000 + plain[2:]


def jpeg_scans() -> bytes:
    """A progressive one of 12 megapixels that says its last scan again and again."""
    plain = encoded(Image.new("L", (4000, 3000), 128), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    return plain[:-2] + last * 3000 + plain[-2:]


def jpeg_size() -> bytes:
    plain = bytearray(encoded(GREY, "JPEG"))
    place = plain.index(b"\xff\xc0")
    plain[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(plain)


def mpo_frames() -> bytes:
    plain = encoded(GREY, "MPO", save_all=True, append_images=[GREY] * 2)
    return plain + plain[plain.rindex(b"\xff\xd8") :] * 20_000


def webp_frames() -> bytes:
    frames = [Image.new("L", (8, 8), i * 60) for i in range(3)]
    plain = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    frame = plain[plain.rindex(b"ANMF") :]
    body = plain[8:] + frame * 100_000
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas() -> bytes:
    """An animation on a canvas of 16,384 x 16,384."""
    frames = [Image.new("L", (8, 8), i * 60) for i in range(3)]
    plain = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    place = plain.index(b"VP8X") + 12
    plain[place : place + 6] = b"\xff\x3f\0\xff\x3f\0"
    return bytes(plain)


def ico_of_large_pngs() -> bytes:
    """An icon of 16 x 16 whose PNG inside is of 12,000 x 12,000."""
    inside = png(size=(12_000, 12_000))
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 8, len(inside), 22) + inside


def icns_of_large_pngs() -> bytes:
    inside = png(size=(12_000, 12_000))
    body = b"ic07" + struct.pack(">I", len(inside) + 8) + inside
    return b"icns" + struct.pack(">I", len(body) + 8) + body


def jpeg2000_tiles() -> bytes:
    """A picture of 6,000 x 6,000 in tiles of one pixel."""
    plain = bytearray(encoded(GREY, "JPEG2000", no_jp2=True))
    place = plain.index(b"\xff\x51") + 6
    plain[place : place + 8] = struct.pack(">II", 6000, 6000)
    plain[place + 16 : place + 24] = struct.pack(">II", 1, 1)
    return bytes(plain)


def psd_layers() -> bytes:
    """Thirty thousand layers of nothing."""
    header = b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 1, 16, 16, 8, 1)
    layer = struct.pack(">IIIIH", 0, 0, 0, 0, 0) + b"8BIMnorm\xff\0\0\0" + struct.pack(">III", 8, 0, 0)
    layers = struct.pack(">h", 30_000) + layer * 30_000
    section = struct.pack(">I", len(layers)) + layers
    return header + struct.pack(">II", 0, 0) + struct.pack(">I", len(section)) + section + b"\0\0" + b"\x80" * 256


def fli_frames() -> bytes:
    size, frame = (16, 16), struct.pack("<IHHxxxxxxxx", 16, 0xF1FA, 0)
    header = struct.pack("<IHHHHHHI", 128 + 16 * 200_000, 0xAF12, 60_000, *size, 8, 3, 10)
    return header + b"\0" * (128 - len(header)) + frame * 200_000


def ppm_size() -> bytes:
    return b"P5 7000 7000 255\n" + b"\0" * 100


BOMBS = {
    "TIFF pages": tiff_pages,
    "TIFF 160,000 pages": lambda: tiff_pages(160_000),
    "TIFF tags": tiff_tags,
    "TIFF tiles": tiff_tiles,
    "GIF comments": gif_comments,
    "GIF frames": gif_frames,
    "GIF large frame": gif_large_frame,
    "PNG chunks": png_chunks,
    "PNG texts": png_texts,
    "PNG profile": png_profile,
    "PNG pixels": png_pixels,
    "PNG frames": png_frames,
    "PNG size": png_size,
    "JPEG markers": jpeg_markers,
    "JPEG scans": jpeg_scans,
    "JPEG size": jpeg_size,
    "MPO frames": mpo_frames,
    "WebP frames": webp_frames,
    "WebP canvas": webp_canvas,
    "ICO large PNG": ico_of_large_pngs,
    "ICNS large PNG": icns_of_large_pngs,
    "JPEG2000 tiles": jpeg2000_tiles,
    "PSD layers": psd_layers,
    "FLI frames": fli_frames,
    "PPM size": ppm_size,
}
