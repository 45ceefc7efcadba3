import io
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from stress import pictures as hostile

from memefly import images
from memefly.errors import PictureError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format=format, **options)
    return out.getvalue()


RGB = Image.fromarray(PIXELS)


def decoded(data: bytes) -> np.ndarray:
    return images.decode(tf.constant(images.canonical(data).data)).numpy()


@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_plain_pictures_pass_byte_for_byte(format):
    data = encoded(RGB, format)
    picture = images.canonical(data)
    assert picture.data == data
    assert (picture.width, picture.height) == (60, 40)
    np.testing.assert_array_equal(decoded(data), PIXELS)


def test_jpeg_passes_and_decodes_as_pillow_reads_it():
    data = encoded(RGB.resize((64, 64), Image.Resampling.BICUBIC), "JPEG", quality=95)
    assert images.canonical(data).data == data
    difference = np.abs(decoded(data).astype(int) - np.asarray(Image.open(io.BytesIO(data))).astype(int))
    assert difference.mean() < 1.5


def test_grey_becomes_rgb():
    assert decoded(encoded(RGB.convert("L"), "PNG")).shape == (40, 60, 3)


def test_webp_lossless():
    np.testing.assert_array_equal(decoded(encoded(RGB, "WEBP", lossless=True)), PIXELS)


def test_palette():
    palette = RGB.quantize(16)
    np.testing.assert_array_equal(decoded(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_cmyk_reads_as_pillow_reads_it():
    data = encoded(RGB.convert("CMYK"), "JPEG", quality=95)
    np.testing.assert_array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("dark", [False, True])
def test_16_bit_grey_is_scaled_not_clipped(dark):
    values = np.array([[0, 200 if dark else 65535], [128, 257 if not dark else 0]], np.uint16)
    grey = decoded(encoded(Image.fromarray(values), "PNG"))[..., 0]
    np.testing.assert_allclose(grey, values / 257, atol=0.51)


def test_transparent_lies_on_white():
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    np.testing.assert_array_equal(decoded(encoded(clear, "PNG")), np.full((4, 4, 3), 255))


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    data = encoded(RGB, "PNG", exif=exif)
    np.testing.assert_array_equal(decoded(data), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(format):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("#ff0000", "#0000ff"))
    data = encoded(red, format, save_all=True, append_images=[blue], duration=100)
    assert decoded(data).reshape(-1, 3).mean(axis=0) == pytest.approx([255, 0, 0], abs=3)


def jpeg() -> bytes:
    return encoded(RGB, "JPEG")


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 30,000 x 30,000."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"not a picture at all", "not_a_picture"),
        (b"<html><img src=x></html>", "not_a_picture"),
        (jpeg()[: len(jpeg()) // 2], "truncated"),
        (encoded(RGB, "PNG")[:500], "truncated"),
        (jpeg()[:3], "not_a_picture"),
        (bomb(), "too_large"),
    ],
)
def test_bad_pictures_have_a_reason(data, reason):
    assert reason in images.REASONS
    with pytest.raises(PictureError) as raised:
        images.canonical(data)
    assert raised.value.reason == reason


def test_pixel_limit_is_configurable():
    with pytest.raises(PictureError, match="60 x 40 pixels; at most 1,000"):
        images.canonical(encoded(RGB, "PNG"), max_pixels=1000)


def test_missing_file(tmp_path):
    with pytest.raises(PictureError) as raised:
        images.read(tmp_path / "nowhere.png")
    assert raised.value.reason == "missing_picture"


def test_a_name_says_nothing(tmp_path):
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(RGB, "PNG"))
    assert (images.read(path).width, images.read(path).height) == (60, 40)


def test_preprocess_alone_batched_and_in_tf_data():
    data = [encoded(RGB, "PNG"), jpeg()]
    alone = np.stack([images.preprocess(tf.constant(d), (24, 32)).numpy() for d in data])
    assert alone.shape == (2, 24, 32, 3)
    assert alone.dtype == np.float32
    assert -1 <= alone.min() < -0.3 and 0.3 < alone.max() <= 1
    np.testing.assert_array_equal(images.preprocess_batch(tf.constant(data), (24, 32)), alone)
    stream = tf.data.Dataset.from_tensor_slices(data).map(lambda d: images.preprocess(d, (24, 32)))
    np.testing.assert_array_equal(np.stack(list(stream.as_numpy_iterator())), alone)


def test_preprocess_keeps_a_constant_picture():
    grey = encoded(Image.new("RGB", (50, 20), (255, 0, 127)), "PNG")
    out = images.preprocess(tf.constant(grey), (8, 8)).numpy()
    np.testing.assert_allclose(out, np.broadcast_to([1.0, -1.0, 127 / 127.5 - 1], (8, 8, 3)), atol=1e-5)


def test_in_a_batch_each_picture_stands_for_itself():
    """Among good pictures in every format: junk, half a picture, nothing at all, and a bomb."""
    good = [encoded(RGB, format) for format in ("JPEG", "PNG", "BMP", "GIF")]
    bad = [b"not a picture", b"", b"\x89PNG", good[0][: len(good[0]) // 2], good[1][:200], b"BM", b"GIF89a", bomb()]
    batch = [good[0], *bad[:4], good[1], good[2], *bad[4:], good[3]]
    each = tf.function(lambda data: images.preprocess_each(data, (8, 8)), autograph=False)
    pictures, fit = each(tf.constant(batch))
    assert fit.numpy().tolist() == [data in good for data in batch]
    np.testing.assert_allclose(pictures[fit], images.preprocess_batch(tf.constant(good), (8, 8)), atol=1e-6)
    assert not pictures.numpy()[~fit.numpy()].any()
    for nothing in (tf.constant(bad), tf.constant([], tf.string)):
        pictures, fit = each(nothing)
        assert pictures.shape == (len(nothing), 8, 8, 3) and not any(fit)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF"])
def test_the_graph_reads_sizes_from_headers(format):
    data = encoded(RGB.resize((300, 7)), format)
    assert images._declared_pixels(tf.constant(data)) == 2100


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_odd_and_damaged_pictures(part, capfd):
    """Two thousand from seeds: EXIF, palettes, chunks, frames, modes and mutations in all formats. Sound ones look as
    they should; the others are sound enough, or have a reason that is the same every time. `make stress` tries more."""
    found = Counter()
    for seed in range(part, 2000, 3):
        made = hostile.draw(seed)
        outcome = hostile.outcome(made)
        found[outcome[0]] += 1
        if seed % 10 == part:
            assert hostile.outcome(hostile.draw(seed)) == outcome
    assert set(found) <= {"right", *images.REASONS} and found["right"] > 300 and found["truncated"] > 10
    assert capfd.readouterr().out == ""


def test_orientation_is_applied_whatever_else_the_exif_holds():
    """A resolution below nothing, of a type that cannot be: Pillow would write all of it again, and fail."""
    import struct

    tags = struct.pack("<H", 2) + struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x011A, 10, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + tags + struct.pack("<I", 0) + struct.pack("<ii", -72, 1)
    np.testing.assert_array_equal(decoded(encoded(RGB, "PNG", exif=exif)), np.rot90(PIXELS, -1))
    picture = images.canonical(encoded(RGB, "JPEG", exif=exif))
    assert (picture.width, picture.height) == (40, 60)


@pytest.mark.parametrize("mode", ["LAB", "La", "RGBa", "HSV", "F", "I", "PA", "1"])
def test_unusual_modes(mode):
    """As Pillow shows them, where it can; alpha that was multiplied in, and Lab's white."""
    white = Image.new("RGB", (8, 8), (255, 255, 255))
    given = Image.new("LAB", (8, 8), (255, 128, 128)) if mode == "LAB" else hostile.as_mode(white, mode)
    assert np.asarray(images.to_rgb(given)).min() >= 254


def test_values_that_are_no_numbers_are_black():
    values = np.array([[np.nan, np.inf, -np.inf, 0, 100, 255]], np.float32)
    grey = np.asarray(images.to_rgb(Image.fromarray(values)))[0, :, 0]
    assert grey[0] == grey[2] == grey[3] == 0 and grey[1] == 255


@pytest.mark.parametrize("data", [b"not a picture at all", b"II*\0" + b"\xff" * 100, b"BM" + b"\xff" * 100])
def test_reasons_are_the_same_in_every_run(data):
    said = set()
    for _ in range(3):
        with pytest.raises(PictureError) as raised:
            images.canonical(data)
        said.add(str(raised.value))
    assert len(said) == 1 and "0x" not in said.pop()


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_mutated_pictures_take_no_neighbour_down(seed):
    """A hundred pictures a seed, with bits turned, bytes lost, cut short or put together wrongly."""
    rng = np.random.default_rng(seed)
    formats = ("JPEG", "PNG", "BMP", "GIF")
    sound = [encoded(RGB, format) for format in formats]
    expected = images.preprocess_batch(tf.constant(sound), (8, 8)).numpy()
    each = tf.function(lambda data: images.preprocess_each(data, (8, 8)), autograph=False)
    for _ in range(25):
        mutants = [mutate(sound[rng.integers(4)], rng, sound) for _ in range(4)]
        pictures, fit = each(tf.constant([x for pair in zip(sound, mutants) for x in pair]))
        assert fit.numpy()[::2].all()
        np.testing.assert_allclose(pictures[::2], expected, atol=1e-6)
        assert np.isfinite(pictures).all() and np.abs(pictures).max() <= 1 + 1e-6


def mutate(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    changed = bytearray(data)
    match rng.integers(5):
        case 0:  # bits turned
            for i in rng.integers(0, len(changed), rng.integers(1, 20)):
                changed[i] ^= 1 << int(rng.integers(8))
        case 1:  # cut short
            del changed[int(rng.integers(len(changed))) :]
        case 2:  # a piece lost
            start = int(rng.integers(len(changed)))
            del changed[start : start + int(rng.integers(1, 200))]
        case 3:  # a header that promises much
            for i in rng.integers(0, min(40, len(changed)), 4):
                changed[i] = 0xFF
        case 4:  # the head of one on the body of another
            other = others[rng.integers(len(others))]
            changed = changed[: rng.integers(1, 60)] + other[rng.integers(1, 60) :]
    return bytes(changed)
