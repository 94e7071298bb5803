"""Every kind of image file gives the same grey picture, or an error that names the file; never anything else."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from blemish import images
from blemish.errors import ImageError, OutputError, UnreadError
from blemish.images import (
    IMAGE_SUFFIXES,
    as_image,
    prepare,
    read_image,
    read_mask,
    resize,
    samples_of,
    write_bytes,
    write_image,
)

Bytes = NDArray[np.uint8]

GREY: Bytes = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)
GREY[0, :2] = 0, 255
RGB: Bytes = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


# --- files of every kind -------------------------------------------------------------------------------------------


def pillow(array: Bytes, kind: str, mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(array: NDArray[Any], colour_type: int, *chunks: bytes) -> bytes:
    """Write a PNG by the letter of its specification, for the kinds that no library writes."""
    height, width = array.shape[:2]
    bits = 8 * array.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in array)
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def grey_palette(grey: Bytes) -> Image.Image:
    """Store each grey value under another number, as palette files do."""
    image = Image.fromarray(255 - grey)
    image.putpalette([255 - index // 3 for index in range(768)])
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb(grey: NDArray[Any]) -> NDArray[Any]:
    return np.dstack([grey] * 3)


def rgba(grey: NDArray[Any], opaque: int) -> NDArray[Any]:
    return np.dstack([grey] * 3 + [np.full_like(grey, opaque)])


def deep(grey: NDArray[Any]) -> NDArray[np.uint16]:
    return grey.astype(np.uint16) * 257  # 255 -> 65535


def real(grey: Bytes) -> NDArray[np.float32]:
    return grey.astype(np.float32) / 255


GREY_KINDS: dict[str, Callable[[Bytes], bytes]] = {
    "png 8": lambda g: pillow(g, "PNG"),
    "png 16": lambda g: png(deep(g), 0),
    "png rgb": lambda g: pillow(rgb(g), "PNG"),
    "png rgb 16": lambda g: png(deep(rgb(g)), 2),
    "png rgba": lambda g: pillow(rgba(g, 255), "PNG"),
    "png rgba 16": lambda g: png(deep(rgba(g, 255)), 6),
    "png grey+alpha": lambda g: pillow(g, "PNG", "LA"),
    "png grey+alpha 16": lambda g: png(deep(np.dstack([g, np.full_like(g, 255)])), 4),
    "png palette": lambda g: saved(grey_palette(g), "PNG"),
    "png palette transparent": lambda g: saved(grey_palette(g), "PNG", transparency=bytes([255] * 256)),
    "png rgb 16 by OpenCV": lambda g: cv2.imencode(".png", deep(rgb(g)))[1].tobytes(),
    "bmp": lambda g: pillow(g, "BMP"),
    "bmp rgb": lambda g: pillow(rgb(g), "BMP"),
    "bmp palette": lambda g: saved(grey_palette(g), "BMP"),
    "webp": lambda g: pillow(rgb(g), "WEBP", lossless=True),
    "webp rgba": lambda g: pillow(rgba(g, 255), "WEBP", lossless=True),
    "tiff 8": lambda g: tiff(g),
    "tiff 8 white is zero": lambda g: tiff(255 - g, photometric="miniswhite"),
    "tiff 8 planes": lambda g: tiff(rgb(g).transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
    "tiff palette": lambda g: saved(grey_palette(g), "TIFF"),
    "tiff lzw": lambda g: pillow(g, "TIFF", compression="tiff_lzw"),
    "tiff 16": lambda g: tiff(deep(g)),
    "tiff 16 big-endian": lambda g: tiff(deep(g), byteorder=">"),
    "tiff 16 big-endian deflate": lambda g: tiff(deep(g), byteorder=">", compression="zlib"),
    "tiff 16 white is zero": lambda g: tiff(65535 - deep(g), photometric="miniswhite"),
    "tiff 16 bigtiff": lambda g: tiff(deep(g), bigtiff=True),
    "tiff rgb": lambda g: tiff(rgb(g), photometric="rgb"),
    "tiff rgb 16": lambda g: tiff(deep(rgb(g)), photometric="rgb"),
    "tiff rgb 16 big-endian": lambda g: tiff(deep(rgb(g)), photometric="rgb", byteorder=">"),
    "tiff rgb 16 deflate": lambda g: tiff(deep(rgb(g)), photometric="rgb", compression="zlib", predictor=True),
    "tiff rgb 16 tiled": lambda g: tiff(deep(rgb(g)), photometric="rgb", tile=(16, 16)),
    "tiff rgb 16 by OpenCV": lambda g: cv2.imencode(".tiff", deep(rgb(g)))[1].tobytes(),
    "tiff rgba 16": lambda g: tiff(deep(rgba(g, 255)), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff rgbx 16": lambda g: tiff(deep(rgba(g, 7)), photometric="rgb", extrasamples=["unspecified"]),
    "tiff premultiplied": lambda g: tiff(rgba(g, 255), photometric="rgb", extrasamples=["assocalpha"]),
    "tiff float": lambda g: tiff(real(g)),
    "tiff float big-endian": lambda g: tiff(real(g), byteorder=">"),
    "tiff float big-endian deflate": lambda g: tiff(real(g), byteorder=">", compression="zlib"),
    "tiff float white is zero": lambda g: tiff(1 - real(g), photometric="miniswhite"),
    "tiff cmyk": lambda g: tiff(255 - np.dstack([rgb(g), np.full_like(g, 255)]), photometric="separated"),
    "tiff cmyk 16": lambda g: tiff(65535 - deep(np.dstack([rgb(g), np.full_like(g, 255)])), photometric="separated"),
}  # fmt: skip

COLOUR_KINDS: dict[str, Callable[[Bytes], bytes]] = {
    "png": lambda c: pillow(c, "PNG"),
    "png 16": lambda c: png(deep(c), 2),
    "bmp": lambda c: pillow(c, "BMP"),
    "webp": lambda c: pillow(c, "WEBP", lossless=True),
    "tiff": lambda c: tiff(c, photometric="rgb"),
    "tiff 16": lambda c: tiff(deep(c), photometric="rgb"),
    "tiff cmyk": lambda c: tiff(255 - np.dstack([c, np.full_like(c[..., 0], 255)]), photometric="separated"),
    "palette": lambda c: saved(Image.fromarray(c).quantize(c[..., 0].size, dither=Image.Dither.NONE), "PNG"),
}

ALPHA_KINDS: dict[str, Callable[[Bytes, Bytes], bytes]] = {
    "png rgba": lambda g, a: pillow(np.dstack([rgb(g), a]), "PNG"),
    "png rgba 16": lambda g, a: png(deep(np.dstack([rgb(g), a])), 6),
    "png grey+alpha": lambda g, a: png(np.dstack([g, a]), 4),
    "png grey+alpha 16": lambda g, a: png(deep(np.dstack([g, a])), 4),
    "tiff rgba": lambda g, a: tiff(np.dstack([rgb(g), a]), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff rgba 16": lambda g, a: tiff(deep(np.dstack([rgb(g), a])), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff grey+alpha": lambda g, a: tiff(
        np.dstack([g, a]), photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    ),
}

TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),  # clockwise
    7: lambda a: np.rot90(a.T, 2),
    8: np.rot90,
}


def exif(orientation: int) -> bytes:
    """An EXIF block that holds the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


TURNED_KINDS: dict[str, Callable[[Bytes, int], bytes]] = {
    "png": lambda g, o: png(g, 0, png_chunk(b"eXIf", exif(o))),
    "png rgb 16": lambda g, o: png(deep(rgb(g)), 2, png_chunk(b"eXIf", exif(o))),
    "webp": lambda g, o: pillow(rgb(g), "WEBP", lossless=True, exif=b"Exif\0\0" + exif(o)),
    "tiff 16": lambda g, o: tiff(deep(g), extratags=[(274, "H", 1, o, True)]),
    "tiff rgb 16": lambda g, o: tiff(deep(rgb(g)), photometric="rgb", extratags=[(274, "H", 1, o, True)]),
}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "Prüfling 1 – 表面.png"  # the suffix is not believed, and names may hold anything
        path.write_bytes(data)
        return path

    return write


File = Callable[[bytes], Path]


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_every_kind_gives_the_same_grey_picture(kind: str, file: File) -> None:
    image = read_image(file(GREY_KINDS[kind](GREY)))
    np.testing.assert_allclose(image, GREY / 255, atol=2e-7)


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_every_kind_gives_float32_between_0_and_1(kind: str, file: File) -> None:
    image = read_image(file(GREY_KINDS[kind](GREY)))
    assert (image.dtype, image.min(), image.max()) == (np.float32, 0, 1)


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_bytes_are_read_like_a_file_and_tell_their_suffix(kind: str, file: File) -> None:
    data = GREY_KINDS[kind](GREY)
    samples = samples_of(data)
    np.testing.assert_array_equal(samples.grey(), read_image(file(data)))
    assert samples.suffix in IMAGE_SUFFIXES
    assert {".jpg": "jpeg", ".tif": "tiff"}.get(samples.suffix, samples.suffix[1:]) == kind.split()[0]


def test_bytes_that_are_no_image_are_called_by_their_name() -> None:
    for data in (b"", b"no image", GREY_KINDS["png 8"](GREY)[:60]):
        with pytest.raises(ImageError, match=r"'upload 7'"):
            samples_of(data, "upload 7")


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_a_single_pixel_is_an_image(kind: str, file: File) -> None:
    assert read_image(file(GREY_KINDS[kind](np.full((1, 1), 255, np.uint8)))).tolist() == [[1.0]]


@pytest.mark.parametrize("kind", COLOUR_KINDS)
def test_colour_becomes_rec_601_luma(kind: str, file: File) -> None:
    luma = (0.299 * RGB[..., 0] + 0.587 * RGB[..., 1] + 0.114 * RGB[..., 2]) / 255
    np.testing.assert_allclose(read_image(file(COLOUR_KINDS[kind](RGB))), luma, atol=2e-7)


@pytest.mark.parametrize("kind", ALPHA_KINDS)
def test_transparency_is_shown_over_black(kind: str, file: File) -> None:
    alpha = np.ascontiguousarray(GREY[::-1])
    np.testing.assert_allclose(read_image(file(ALPHA_KINDS[kind](GREY, alpha))), GREY / 255 * (alpha / 255), atol=2e-7)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_premultiplied_alpha_is_not_multiplied_again(photometric: str, file: File) -> None:
    alpha = np.full_like(GREY, 51)  # a fifth
    shown = GREY // 5
    layers = np.dstack([rgb(shown) if photometric == "rgb" else shown, alpha])
    data = tiff(layers, photometric=photometric, planarconfig="contig", extrasamples=["assocalpha"])
    np.testing.assert_allclose(read_image(file(data)), shown / 255, atol=2e-7)


@pytest.mark.parametrize("array", [GREY, deep(GREY)])
def test_the_transparent_grey_of_a_png_is_black(array: NDArray[Any], file: File) -> None:
    key = array[0, 1]
    image = read_image(file(png(array, 0, png_chunk(b"tRNS", struct.pack(">H", key)))))
    np.testing.assert_allclose(image, np.where(array == key, 0, GREY / 255), atol=2e-7)


@pytest.mark.parametrize("array", [RGB, deep(RGB)])
def test_the_transparent_colour_of_a_png_is_black(array: NDArray[Any], file: File) -> None:
    plain, keyed = (read_image(file(png(array, 2, *chunks))) for chunks in ([], [trns(array[2, 3])]))
    assert np.argwhere(plain != keyed).tolist() == [[2, 3]]
    assert keyed[2, 3] == 0


def trns(colour: NDArray[Any]) -> bytes:
    return png_chunk(b"tRNS", struct.pack(">HHH", *colour.tolist()))


def test_transparent_palette_entries_are_black(file: File) -> None:
    data = saved(grey_palette(GREY), "PNG", transparency=bytes([0] + [255] * 255))  # entry 0 is white
    np.testing.assert_allclose(read_image(file(data)), np.where(GREY == 255, 0, GREY / 255), atol=2e-7)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(kind: str, file: File) -> None:
    assert np.array_equal(read_image(file(saved(Image.fromarray(GREY > 127), kind))), GREY > 127)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_near_the_same_picture(mode: str, file: File) -> None:
    smooth = np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 6
    data = pillow(rgb(smooth), "JPEG", mode, quality=100)
    np.testing.assert_allclose(read_image(file(data)), smooth / 255, atol=2 / 255)


def test_twelve_bits_fill_the_range(file: File) -> None:
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    samples = b"\xff\xf8\x00\x00"  # 0xfff, 0x800, and a byte of padding
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    data = b"II*\0" + struct.pack("<I", 12) + samples + directory
    np.testing.assert_allclose(read_image(file(data)), [[1, 0x800 / 0xFFF]], atol=1e-5)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", TURNED_KINDS)
def test_orientation_is_applied_once(kind: str, orientation: int, file: File) -> None:
    image = read_image(file(TURNED_KINDS[kind](GREY, orientation)))
    np.testing.assert_allclose(image, TURNS[orientation](GREY / 255), atol=2e-7)


def test_previews_behind_a_jpeg_do_not_matter(file: File) -> None:
    first, preview = Image.new("L", (9, 6), 200), Image.new("L", (3, 2), 10)
    image = read_image(file(saved(first, "MPO", save_all=True, append_images=[preview])))
    np.testing.assert_allclose(image, np.full((6, 9), 200 / 255), atol=2 / 255)


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_none(orientation: int, file: File) -> None:
    assert np.array_equal(
        read_image(file(TURNED_KINDS["png"](GREY, orientation))), read_image(file(pillow(GREY, "PNG")))
    )


def test_a_mask_is_true_where_the_file_is_not_black(file: File) -> None:
    assert np.array_equal(read_mask(file(pillow(GREY, "PNG"))), GREY > 0)


def test_the_faintest_colour_in_a_mask_counts(file: File) -> None:
    assert read_mask(file(pillow(np.array([[[0, 0, 1], [0, 0, 0]]], np.uint8), "PNG"))).tolist() == [[True, False]]


# --- strip by strip ----------------------------------------------------------------------------------------------

EVERY_KIND = {
    **{kind: make(GREY) for kind, make in GREY_KINDS.items()},
    **{f"colour, {kind}": make(RGB) for kind, make in COLOUR_KINDS.items()},
    **{f"alpha, {kind}": make(GREY, GREY[::-1]) for kind, make in ALPHA_KINDS.items()},
    **{f"turned {o}, {kind}": make(GREY, o) for kind, make in TURNED_KINDS.items() for o in TURNS},
    "transparent grey": png(GREY, 0, png_chunk(b"tRNS", struct.pack(">H", GREY[0, 1]))),
    "jpeg": pillow(rgb(GREY), "JPEG"),
    "one bit": saved(Image.fromarray(GREY > 127), "PNG"),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_rows_of_a_file_are_those_of_the_whole_image(kind: str, file: File) -> None:
    path = file(EVERY_KIND[kind])
    whole, samples = read_image(path), images.read_samples(path)
    assert (samples.height, samples.width) == whole.shape
    for top, bottom in [(0, 1), (0, samples.height), (2, 5), (samples.height - 1, samples.height)]:
        np.testing.assert_allclose(as_image(samples.rows(top, bottom)), whole[top:bottom], atol=1e-7)


@pytest.mark.parametrize("kind", ["png 8", "png 16", "png palette", "tiff 16 big-endian"])
def test_samples_are_as_small_as_in_the_file(kind: str, file: File) -> None:
    rows = images.read_samples(file(GREY_KINDS[kind](GREY))).rows(0, 6)
    assert rows.dtype == (np.uint16 if "16" in kind else np.uint8)


def test_a_wrong_float_far_down_is_found_at_once(file: File) -> None:
    array = np.zeros((1500, 4), np.float32)
    array[1400, 2] = 2
    with pytest.raises(ImageError, match="Rescale"):
        images.read_samples(file(tiff(array)))


# --- refusing ------------------------------------------------------------------------------------------------------

PAGES = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY // 2)]

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes"),
    "text": (b"This is no image, whatever it is called.", "expected PNG, JPEG, BMP, TIFF or WebP"),
    "gif": (pillow(GREY, "GIF"), "expected PNG, JPEG, BMP, TIFF or WebP"),
    "tiff pages": (saved(PAGES[0], "TIFF", save_all=True, append_images=PAGES[1:]), "3 frames"),
    "animated png": (saved(PAGES[0], "PNG", save_all=True, append_images=PAGES[1:]), "3 frames"),
    "animated webp": (saved(PAGES[0], "WEBP", save_all=True, append_images=PAGES[1:]), "3 frames"),
    "float above 1": (tiff(real(GREY) * 200), "from 0 to 200; expected 0 to 1. Rescale"),
    "float below 0": (tiff(real(GREY) - 0.5), "from -0.5 to 0.5; expected 0 to 1. Rescale"),
    "float nan": (tiff(np.where(GREY > 9, real(GREY), np.float32("nan"))), "expected 0 to 1. Rescale"),
    "float inf": (tiff(np.where(GREY > 9, real(GREY), np.float32("inf"))), "expected 0 to 1. Rescale"),
    "float 64": (tiff(GREY / 255), "Export it as"),
    "signed 16": (tiff(GREY.astype(np.int16)), "signed integers"),
    "unsigned 32": (tiff(GREY.astype(np.uint32)), "32-bit"),
    "16-bit planes": (
        tiff(deep(RGB).transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
        "one plane per colour",
    ),
    "16-bit premultiplied": (
        tiff(deep(rgba(GREY, 255)), photometric="rgb", extrasamples=["assocalpha"]),
        "premultiplied",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_refused_with_the_reason(kind: str, file: File) -> None:
    data, reason = REFUSED[kind]
    with pytest.raises(ImageError, match=reason):
        read_image(file(data))


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_file(kind: str, file: File) -> None:
    path = file(REFUSED[kind][0])
    with pytest.raises(ImageError) as refusal:
        read_image(path)
    assert str(refusal.value).startswith(f"'{path}': ")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"'.*gone\.png': no such file"):
        read_image(tmp_path / "gone.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="this is a folder"):
        read_image(str(tmp_path))


def test_a_file_that_the_system_withholds_is_refused(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    def withhold(path: Path, mode: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = file(b"x")
    monkeypatch.setattr(Path, "open", withhold)
    with pytest.raises(UnreadError, match=r"Permission denied\). Check"):
        read_image(path)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_what_keeps_a_file_from_being_decoded_is_told_from_what_is_wrong_with_it(
    error: Exception, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError) as damage:
        read_image(file(WHOLE["png"][:200]))
    assert not isinstance(damage.value, UnreadError)
    monkeypatch.setattr(Image, "open", raising(error))
    with pytest.raises(UnreadError, match="try again"):
        read_image(file(WHOLE["png"]))


NOISE: Bytes = np.random.default_rng(2).integers(0, 256, (24, 32, 3), dtype=np.uint8)

WHOLE = {
    "png": pillow(NOISE, "PNG"),
    "png 16": png(deep(NOISE), 2),
    "jpeg": pillow(NOISE, "JPEG"),
    "bmp": pillow(NOISE, "BMP"),
    "webp": pillow(NOISE, "WEBP", exif=b"Exif\0\0" + exif(6)),
    "tiff": tiff(deep(NOISE), photometric="rgb"),
    "tiff deflate": tiff(deep(NOISE), photometric="rgb", compression="zlib"),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float, file: File) -> None:
    data = WHOLE[kind]
    with pytest.raises(ImageError):
        read_image(file(data[: int(share * len(data))]))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_that_lacks_rows_is_refused(compression: str | None, file: File) -> None:
    data = tiff(NOISE, photometric="rgb", compression=compression)
    rows = struct.pack("<HHII", 257, 4, 1, 24)  # tag ImageLength, type LONG, one value
    assert rows in data
    with pytest.raises(ImageError):
        read_image(file(data.replace(rows, struct.pack("<HHII", 257, 4, 1, 30))))


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_bytes_give_an_image_or_an_image_error(
    kind: str, file: File, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        data = bytearray(WHOLE[kind])
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            data[position] = rng.integers(0, 256)
        try:
            image = read_image(file(bytes(data)))
        except ImageError:
            continue
        assert image.dtype == np.float32
        assert image.ndim == 2
    if kind != "tiff deflate":  # libtiff, which Pillow calls, prints its complaints
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error", [ValueError, SyntaxError, struct.error, zlib.error, EOFError, MemoryError, OverflowError]
)
def test_whatever_a_decoder_raises_becomes_an_image_error(
    error: type[Exception], file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", raising(error))
    with pytest.raises(ImageError, match=error.__name__):
        read_image(file(b"x"))


def test_ctrl_c_is_not_an_image_error(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read_image(file(b"x"))


def raising(error: type[BaseException] | BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


# --- decompression bombs -------------------------------------------------------------------------------------------


def test_sixteen_thousand_pixels_a_side_are_allowed() -> None:
    assert images.MAX_PIXELS >= 16384 * 16384


@pytest.mark.parametrize("pillow_limit", [1, 89_478_485, None])
def test_a_bomb_is_refused_by_its_header(pillow_limit: int | None, file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16385, 16384, 8, 0, 0, 0, 0))
    with pytest.raises(ImageError, match="more than 268435456 pixels"):
        read_image(file(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"")))


@pytest.mark.parametrize("pillow_limit", [1, 89_478_485, None])
@pytest.mark.parametrize("kind", WHOLE)
def test_only_our_own_limit_counts(
    kind: str, pillow_limit: int | None, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    assert read_image(file(WHOLE[kind])).size == 24 * 32
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", WHOLE)
def test_the_limit_is_exact(kind: str, file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 32)
    assert read_image(file(WHOLE[kind])).size == 24 * 32
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 32 - 2)
    with pytest.raises(ImageError, match="more than 766 pixels"):
        read_image(file(WHOLE[kind]))


def test_threads_leave_the_warning_filters_as_they_were(file: File) -> None:
    path, filters = file(WHOLE["png"]), list(warnings.filters)
    threads = [threading.Thread(target=read_image, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == filters


# --- arrays --------------------------------------------------------------------------------------------------------

ARRAYS: dict[str, NDArray[Any]] = {
    "uint8": GREY,
    "uint16": deep(GREY),
    "uint16 big-endian": deep(GREY).astype(">u2"),
    "float32": real(GREY),
    "float64": GREY / 255,
    "one channel": GREY[..., None],
    "rgb": rgb(GREY),
    "rgb 16": deep(rgb(GREY)),
    "rgb float64": rgb(GREY / 255),
    "rgba": rgba(GREY, 255),
    "strided": np.repeat(GREY, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_becomes_the_picture_that_its_file_becomes(kind: str) -> None:
    image = as_image(ARRAYS[kind])
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, GREY / 255, atol=2e-7)


def test_bool_is_black_and_white() -> None:
    assert as_image(np.array([[True, False]])).tolist() == [[1.0, 0.0]]


def test_grey_stored_as_colour_is_exactly_that_grey() -> None:
    every_grey = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(as_image(rgb(every_grey)), as_image(every_grey))


@pytest.mark.parametrize("white", [np.uint8(255), np.uint16(65535), np.float32(1), np.float64(1), np.True_])
def test_white_is_exactly_one(white: np.generic) -> None:
    assert as_image(np.full((1, 1, 3), white)).tolist() == [[1.0]]


def test_the_result_is_a_new_array() -> None:
    array = real(GREY)
    assert not np.shares_memory(as_image(array), array)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"shape \(.*expected \(H, W\)"):
        as_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint32, np.complex64, object])
def test_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises(ImageError, match=r"dtype .*; expected bool, uint8, uint16"):
        as_image(np.zeros((2, 2), dtype))


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_float_values_outside_0_and_1_are_refused(value: float) -> None:
    with pytest.raises(ImageError, match="Rescale"):
        as_image(np.array([[0.5, value]]))


# --- size and range ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 9), (12, 4), (2, 30), (64, 64)])
def test_prepare_gives_the_size_and_the_whole_range(size: tuple[int, int]) -> None:
    prepared = prepare(real(GREY), *size)
    assert (prepared.shape, prepared.dtype) == (size, np.float32)
    assert (prepared.min(), prepared.max()) == ((0, 0) if size == (1, 1) else (0, 1))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 11), (64, 64)])
@pytest.mark.parametrize("value", [0, 0.3, 1])
def test_one_colour_becomes_zeros(value: float, size: tuple[int, int]) -> None:
    assert not prepare(np.full((7, 11), value, np.float32), *size).any()


def test_one_pixel_becomes_zeros() -> None:
    assert not prepare(np.full((1, 1), 0.7, np.float32), 64, 64).any()


def test_a_pattern_that_averages_to_one_colour_becomes_zeros() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * np.float32(0.7) + np.float32(0.1)
    assert not prepare(checks, 8, 8).any()


def test_the_smallest_step_of_16_bits_is_no_rounding() -> None:
    assert prepare(as_image(np.array([[40000, 40001]], np.uint16)), 1, 2).tolist() == [[0.0, 1.0]]


def test_light_and_contrast_do_not_matter() -> None:
    darker = 0.4 * real(GREY) + np.float32(0.1)
    np.testing.assert_allclose(prepare(darker, 5, 5), prepare(real(GREY), 5, 5), atol=1e-6)


@pytest.mark.parametrize("size", [(6, 9), (3, 3), (20, 20)])
def test_prepare_leaves_its_input_alone(size: tuple[int, int]) -> None:
    image = real(GREY)
    prepare(image, *size)
    assert np.array_equal(image, real(GREY))


def test_shrinking_averages() -> None:
    means = real(GREY).reshape(3, 2, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(real(GREY), 3, 3), means, atol=1e-6)


def test_enlarging_interpolates() -> None:
    ramp = np.array([[0.0, 1.0]], np.float32)
    assert resize(ramp, 1, 4).tolist() == [[0, 0.25, 0.75, 1]]


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    rows = real(GREY).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(resize(real(GREY), 6, 1), rows, atol=1e-6)
    np.testing.assert_allclose(resize(real(GREY), 12, 1)[[0, -1]], rows[[0, -1]], atol=1e-6)


def test_the_same_size_is_the_same_picture() -> None:
    assert np.array_equal(resize(real(GREY), *GREY.shape), real(GREY))


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(images.IMAGE_SUFFIXES - {".jpg", ".jpeg", ".webp"}))
@pytest.mark.parametrize("array", [GREY, RGB, real(GREY), GREY > 127], ids=["grey", "rgb", "float", "bool"])
def test_what_is_written_is_read_again(array: NDArray[Any], suffix: str, tmp_path: Path) -> None:
    write_image(tmp_path / f"Fläche 1{suffix}", array)
    np.testing.assert_allclose(read_image(tmp_path / f"Fläche 1{suffix}"), as_image(array), atol=2e-7)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_colours_keep_their_order_in_lossy_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"red{suffix.upper()}"
    write_image(path, np.full((8, 8, 3), (255, 0, 0), np.uint8))
    np.testing.assert_allclose(read_image(path), 0.299, atol=0.01)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("array", [deep(GREY) - 1 * (GREY > 0), deep(RGB)], ids=["grey", "rgb"])
def test_16_bits_are_written_as_16_bits(array: NDArray[Any], suffix: str, tmp_path: Path) -> None:
    array = array.astype(np.uint16)
    write_image(tmp_path / f"deep{suffix}", array)
    np.testing.assert_allclose(read_image(tmp_path / f"deep{suffix}"), as_image(array), atol=2e-7)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_16_bits_are_refused_where_they_would_be_lost(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"uint16 image; use one of \.png, \.tif, \.tiff"):
        write_image(tmp_path / f"deep{suffix}", deep(GREY))


@pytest.mark.parametrize("name", ["picture.gif", "picture"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"use one of \.bmp, \.jpeg"):
        write_image(tmp_path / name, GREY)


@pytest.mark.parametrize(
    "array", [GREY * 2.0, GREY.astype(np.int32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture_is_not_written(array: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected"):
        write_image(tmp_path / "a.png", array)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_wide_for_its_format_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be encoded"):
        write_image(tmp_path / "wide.jpg", np.zeros((1, 70000), np.uint8))


def test_a_link_stays_a_link_to_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(Path("real") / "file.txt")
    write_bytes(tmp_path / "link.txt", b"there")
    assert (tmp_path / "link.txt").is_symlink()
    assert [path.read_bytes() for path in (tmp_path / "real").iterdir()] == [b"there"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c.txt", b"there")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"there"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.csv"
    write_bytes(path, b"old")
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OutputError, match=r"result\.csv.*No space left on device.*free space"):
        write_bytes(path, b"new")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"result.csv": b"old"}


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_kill_in_between_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "result.csv", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "result.csv", b"new")
