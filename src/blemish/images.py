"""Read any image file as one grey picture, bring it to a size, and write pictures back.

In come PNG, JPEG, BMP, TIFF and WebP files of every usual kind, or numpy arrays; out goes ``(H, W)`` float32 in [0, 1]:
8-bit samples are divided by 255, 16-bit ones by 65535, float samples are taken as they are and must lie in [0, 1].
Colour becomes grey by its Rec. 601 luma, in float32; what that leaves out, blue less grey and red less grey, can be had
too (`colour_difference`). Transparent pixels are shown over black. EXIF orientation is applied, ICC profiles and gamma
are not. A file holds one image: pages and animations are refused, not guessed at.

Pillow alone opens files, because it notices truncated ones; OpenCV would return half a picture without a word.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import TiffImagePlugin as Tiff
from PIL.ImageFile import ImageFile

from blemish.errors import DatasetError, ImageError, OutputError, UnreadError
from blemish.results import FloatArray

MAX_PIXELS = 2**28  # 16384 x 16384; a header that declares more is taken for a decompression bomb
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
_DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})  # those that can hold 16-bit samples
_WHITE = {np.dtype(np.bool_): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
# Rec. 601 in thousandths: 8-bit sums stay whole, so grey stored as RGB is exactly that grey.
_LUMA = np.array([[299, 587, 114]], dtype=np.float32)
DIFFERENCES = (2, 0)  # channels of RGB that tell, less the grey, all that grey leaves out: blue and red
_ROWS = 1024  # of an image that are turned to grey at once
_FLAT = 0.5 / 65535  # half a 16-bit step: smaller differences are rounding, not surface
_OTHER_BYTE_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_GREY_ALPHA_16 = "LA;16B"  # Pillow's name for the samples of such a PNG
_EXPORT = "Export it as an 8- or 16-bit grey or RGB PNG."


def read_image(path: Path | str) -> FloatArray:
    """Read an image file as a grey picture, whatever kind it is.

    Returns:
        ``(H, W)`` float32 in [0, 1], as the module's first lines define it.

    Raises:
        ImageError: the file is missing, empty, truncated, no image, of an unsupported kind, larger than ``MAX_PIXELS``,
            holds several frames, or holds float samples outside [0, 1]. UnreadError, which is one: the system does not
            give the file, or the memory for it.
    """
    with _errors_naming(Path(path)), _opened(Path(path)) as file:
        return _decode(file).grey()


@dataclass(frozen=True)
class Samples:
    """What an image file holds, upright, as far as possible as small as it is stored."""

    height: int
    width: int
    rows: Callable[[int, int], NDArray[Any]]  # (first, last + 1) -> these rows, in one of the forms `as_image` takes
    suffix: str  # one of ``IMAGE_SUFFIXES``, by what the file holds and not by its name

    def grey(self) -> FloatArray:
        """Return the whole picture as grey: ``(height, width)`` float32 in [0, 1]."""
        return as_image(self.rows(0, self.height))


def read_samples(path: Path | str) -> Samples:
    """Read an image file like `read_image`, but turn no row to grey before it is asked for.

    Raises:
        ImageError: as for `read_image`.
    """
    with _errors_naming(Path(path)), _opened(Path(path)) as file:
        return _decode(file)


def samples_of(data: bytes, name: str = "the image") -> Samples:
    """Read the bytes of an image file like `read_samples`.

    Args:
        data: all of them.
        name: what errors call it.

    Raises:
        ImageError: as for `read_image`.
    """
    with _errors_naming(name):
        if not data:
            raise ImageError("it is empty (0 bytes); expected an image. Export or send it again.")
        return _decode(io.BytesIO(data))


def decode_image(data: bytes) -> FloatArray:
    """Read the bytes of an image file like `read_image`.

    Raises:
        Exception: of any kind, when they are damaged; ImageError where the reason is known.
    """
    return _decode(io.BytesIO(data)).grey()


def read_mask(path: Path | str) -> NDArray[np.bool_]:
    """Read a ground-truth mask: ``(H, W)`` bool, true where the file's pixel is anything but black."""
    return read_image(path) > 0


def read_mask_of(image_path: Path, shape: tuple[int, ...], mask_path: Path) -> NDArray[np.bool_]:
    """Read the mask of an image of this shape, ``(H, W)``.

    Raises:
        DatasetError: the mask has another shape. ImageError: it cannot be read.
    """
    mask = read_mask(mask_path)
    if mask.shape != shape:
        raise DatasetError(
            f"The mask '{mask_path}' has {mask.shape[0]} x {mask.shape[1]} pixels, its image '{image_path}' "
            f"{shape[0]} x {shape[1]}; expected the same. Draw the mask on the image itself, which is shown upright "
            "if it says how it was turned (EXIF)."
        )
    return mask


def as_image(array: NDArray[Any]) -> FloatArray:
    """Turn an array into the same grey picture that `read_image` makes of a file with these samples.

    Args:
        array: ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA; bool, uint8, uint16, or float in
            [0, 1]. OpenCV's BGR order must be turned round first.

    Returns:
        ``(H, W)`` float32 in [0, 1], a new array.

    Raises:
        ImageError: another shape, another dtype, or float values outside [0, 1].

    Example:
        >>> as_image(np.array([[[255, 0, 0], [255, 255, 255]]], dtype=np.uint8)).round(3).tolist()
        [[0.29899999499320984, 1.0]]
    """
    pixels = as_samples(array)
    if pixels.ndim == 2:
        return np.asarray(np.divide(pixels, _white(pixels), dtype=np.float32))
    return _weighed(pixels, _LUMA)


def _weighed(pixels: NDArray[Any], thousandths: FloatArray) -> FloatArray:
    """Sum the colours of RGB or RGBA samples, in thousandths ``(1, 3)`` of white: ``(H, W)`` float32."""
    white = _white(pixels)
    summed: FloatArray = np.empty(pixels.shape[:2], dtype=np.float32)
    for top in range(0, len(summed), _ROWS):  # the colours of a very large image would need gigabytes as float32
        colours = pixels[top : top + _ROWS, :, :3].astype(np.float32)
        summed[top : top + _ROWS] = cv2.transform(colours, thousandths)
    summed /= np.float32(1000 * white)
    if pixels.shape[2] == 4:
        summed *= np.divide(pixels[:, :, 3], white, dtype=np.float32)
    return summed


def colour_difference(array: NDArray[Any], channel: int) -> FloatArray:
    """Tell how much more of a colour there is in an array than in its grey.

    Args:
        array: as for `as_image`.
        channel: of RGB, one of ``DIFFERENCES``.

    Returns:
        ``(H, W)`` float32, blue less grey in [-0.886, 0.886], red less grey in [-0.701, 0.701]; 0 where all is grey.

    Raises:
        ImageError: as for `as_image`.

    Source: ITU-R BT.601, colour-difference signals, not scaled.

    Example:
        >>> colour_difference(np.array([[[255, 0, 0], [255, 255, 255]]], dtype=np.uint8), 0).round(3).tolist()
        [[0.7009999752044678, 0.0]]
    """
    pixels = as_samples(array)
    if pixels.ndim == 2:
        return np.zeros(pixels.shape, dtype=np.float32)
    return _weighed(pixels, 1000 * np.eye(3, dtype=np.float32)[[channel]] - _LUMA)


def rgb(grey: FloatArray, blue: FloatArray, red: FloatArray) -> FloatArray:
    """Put a picture together again from its grey and its two `colour_difference`.

    Args:
        grey: ``(H, W)`` in [0, 1].
        blue, red: blue less grey and red less grey, ``(H, W)``.

    Returns:
        ``(H, W, 3)`` float32, cut off at 0 and 1.
    """
    of_red, of_green, of_blue = _LUMA[0] / np.float32(1000)
    green = -(of_blue * blue + of_red * red) / of_green
    return np.asarray(np.clip(np.stack([grey + red, grey + green, grey + blue], axis=-1), 0, 1))


def as_samples(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the shape ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``, and refuse others like `as_image`."""
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.size == 0 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ImageError(f"shape {np.shape(array)}; expected (H, W), (H, W, 3) for RGB or (H, W, 4) for RGBA.")
    return pixels


def prepare(image: FloatArray, height: int, width: int) -> FloatArray:
    """Bring an image to a size and stretch its grey values over all of [0, 1].

    Args:
        image: ``(H, W)`` float32; it is not changed.
        height: rows of the result, 1 or more.
        width: columns of the result, 1 or more.

    Returns:
        ``(height, width)`` float32, smallest value 0 and largest 1; all zeros when the image has one colour.

    Source: Tayeh et al. 2020, sec. IV-B (every image is resized and min-max scaled).

    Example:
        >>> prepare(np.array([[0.25, 0.5], [0.75, 0.75]], dtype=np.float32), 2, 2).tolist()
        [[0.0, 0.5], [1.0, 1.0]]
    """
    resized = resize(image, height, width)
    black, span = own_range(resized.min(), resized.max())
    return np.asarray((resized - black) / span)


def own_range(low: np.float32, high: np.float32) -> tuple[np.float32, np.float32]:
    """Return what becomes black in an image that is stretched over its own grey values, and how far white is from it.

    An image of one colour becomes all black: there, white is infinitely far.
    """
    return low, high - low if high - low >= _FLAT else np.float32(np.inf)


def resize(array: FloatArray, height: int, width: int) -> FloatArray:
    """Resize ``(H, W)`` to ``(height, width)``: averaging where an axis shrinks, interpolating where it grows."""
    source = np.ascontiguousarray(array, dtype=np.float32)
    inner_size = (min(source.shape[1], width), min(source.shape[0], height))  # (W, H), OpenCV's order
    shrunk = cv2.resize(source, inner_size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def write_image(path: Path | str, array: NDArray[Any]) -> None:
    """Write a picture in the format that the path's suffix names; the file appears whole or not at all.

    Args:
        path: ends in one of ``IMAGE_SUFFIXES``; missing folders are created.
        array: ``(H, W)`` or ``(H, W, 3)`` RGB; uint8, uint16 (PNG and TIFF only), or bool and float in
            [0, 1], which are written as 8-bit.

    Raises:
        ImageError: the array is none of these.
        OutputError: the suffix is none of these, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    fitting = _DEEP_SUFFIXES if array.dtype == np.uint16 else IMAGE_SUFFIXES
    if suffix not in fitting:
        choice = ", ".join(sorted(fitting))
        raise OutputError(f"'{path}': suffix '{suffix}' does not fit a {array.dtype} image; use one of {choice}.")
    write_bytes(path, _encode(array, suffix))


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file so that it appears whole or not at all, even when the program is killed meanwhile.

    A link stays a link: the file it leads to is written.

    Raises:
        OutputError: the folder or disk refuses; a file that was there before is untouched.
    """
    target = Path(os.path.realpath(path))  # Path.resolve raises what is no OSError for links in a circle
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")  # beside the target: renames are atomic on one disk only
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(data)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        remedy = "Choose a folder that can be written to, or free space on the disk; nothing there was changed."
        raise OutputError(f"'{path}' cannot be written ({error.strerror or error}). {remedy}") from error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text like `write_bytes`; names that are no valid Unicode are spelled out, as in ``\\udce9``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


@contextmanager
def _errors_naming(path: Path | str) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise type(error)(f"'{path}': {error}") from error
    except Exception as error:  # damaged or hostile bytes make decoders raise almost anything
        if isinstance(error, MemoryError) or getattr(error, "errno", None):  # those of Pillow's own have no number
            raise UnreadError(
                f"'{path}': it cannot be read now ({error!r}). Check the disk, free memory, and try again."
            ) from error
        raise ImageError(f"'{path}': damaged, truncated or of a rare kind ({error!r}). {_EXPORT}") from error


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise ImageError("this is a folder; expected an image file. Name the files inside it.")
        if not path.is_file():
            raise UnreadError("no such file. Check the path.")
        if path.stat().st_size == 0:
            raise ImageError("the file is empty (0 bytes); expected an image. Export or copy it again.")
        return path.open("rb")
    except OSError as error:
        raise UnreadError(f"the file cannot be read ({error.strerror or error}). Check its permissions.") from error


def _decode(file: BinaryIO) -> Samples:
    """Decode a whole file and keep it as Pillow does: in a byte or two a sample, where float32 takes four a pixel."""
    with _RULES_FOR_PILLOW:
        image = _open(file)
        rawmode = _rawmode(image)
        if rawmode == "F;32BF" and image.tile[0].codec_name == "libtiff":
            _set_rawmode(image, "F;32NF")  # libtiff has put the bytes in order already; Pillow would swap them back
        ImageOps.exif_transpose(image, in_place=True)
        low_bytes = None
        if rawmode.endswith((";16B", ";16L", ";16N")) and not image.mode.startswith("I;16"):
            low_bytes = _low_bytes(_open(file), rawmode)

    def rows(top: int, bottom: int) -> NDArray[Any]:
        pixels = _pixels(image, top, bottom)
        if low_bytes is not None:
            low = _pixels(low_bytes, top, bottom)
            low = low[:, :, [1, 1, 1, 3]] if rawmode == _GREY_ALPHA_16 else low
            pixels = (pixels.astype(np.uint16) << 8) | low
        if rawmode == "I;12":
            pixels = (pixels << 4) | (pixels >> 8)  # 0 to 4095 becomes 0 to 65535
        if image.mode == "CMYK":
            pixels = _rgb_from_cmyk(pixels)
        if _stores_white_as_zero(image):
            pixels = _white(pixels) - pixels
        if image.mode != "P" and "transparency" in image.info:
            pixels = _hide(pixels, image.info["transparency"])
        return pixels

    _white(rows(0, 1))  # what cannot be used is refused now, and not when it is looked at
    if image.mode == "F":
        for top in range(0, image.height, _ROWS):
            _white(rows(top, min(top + _ROWS, image.height)))
    return Samples(image.height, image.width, rows, _SUFFIXES[str(image.format)])


class _RulesForPillow:
    """Makes Pillow refuse more than ``MAX_PIXELS`` (it does so at twice its own limit), and warn nobody.

    Pillow's limit and Python's warning filters belong to the whole process, so where several threads decode at once the
    rules hold from the first one's beginning to the last one's end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_decoding = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._n_decoding == 0:
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
            self._n_decoding += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_decoding -= 1
            if self._n_decoding == 0:
                self._undo.close()


_RULES_FOR_PILLOW = _RulesForPillow()


def _open(file: BinaryIO) -> ImageFile:
    """Read the header and refuse what must not be decoded."""
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(
            "the file is not an image, has a damaged header, or is of a rare kind; "
            f"expected PNG, JPEG, BMP, TIFF or WebP. {_EXPORT}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"the header declares more than {MAX_PIXELS} pixels. Cut the image into tiles.") from error
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with previews behind it
        raise ImageError(f"the file holds {n_frames} frames; expected one. Export one file per frame.")
    if isinstance(image, Tiff.TiffImageFile):
        _refuse_what_pillow_misreads(image)
    return image


def _refuse_what_pillow_misreads(image: Tiff.TiffImageFile) -> None:
    tags = image.tag_v2
    is_colour, is_planar = image.mode in ("RGB", "RGBA", "CMYK"), tags.get(Tiff.PLANAR_CONFIGURATION) == 2
    if is_colour and is_planar and max(tags[Tiff.BITSPERSAMPLE]) > 8:
        raise ImageError(f"the file is a 16-bit colour TIFF with one plane per colour. {_EXPORT}")
    extents = image.tile[-1].extents if image.tile else None
    if extents is None or extents[2:] != (tags[Tiff.IMAGEWIDTH], tags[Tiff.IMAGELENGTH]):
        raise ImageError(f"the TIFF header declares more pixels than the file holds. {_EXPORT}")


def _rawmode(image: ImageFile) -> str:
    """Return Pillow's name for the samples as they lie in the file, such as ``RGB;16B``; empty when it gives none."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _set_rawmode(image: ImageFile, rawmode: str) -> None:
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _pixels(image: Image.Image, top: int, bottom: int) -> NDArray[Any]:
    """Return samples of some rows of a decoded image; 16-bit colour comes out as 8-bit."""
    if (top, bottom) != (0, image.height):
        with _RULES_FOR_PILLOW:
            image = image.crop((0, top, image.width, bottom))
    if image.mode in ("L", "RGB", "RGBA", "CMYK", "F"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "PA", "LA"):
        return np.asarray(image.convert("RGBA"))
    if image.mode == "La":
        return np.asarray(image)[:, :, 0]  # premultiplied: shown over black already
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)  # in this machine's byte order
    raise ImageError(f"the samples are of Pillow's kind '{image.mode}' (32-bit or signed integers, or Lab). {_EXPORT}")


def _low_bytes(image: ImageFile, rawmode: str) -> ImageFile:
    """Decode the low bytes of 16-bit colour: Pillow keeps the high byte, and told the other byte order, the low one."""
    if rawmode.startswith("RGBa"):
        raise ImageError(f"the file is a 16-bit TIFF with premultiplied alpha. {_EXPORT}")
    # Of grey with alpha, the four bytes of a pixel: grey high, grey low, alpha high, alpha low.
    other = "RGBA" if rawmode == _GREY_ALPHA_16 else rawmode[:-1] + _OTHER_BYTE_ORDER[rawmode[-1]]
    _set_rawmode(image, other)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb_from_cmyk(pixels: NDArray[Any]) -> FloatArray:
    left: FloatArray = 1 - np.divide(pixels, _white(pixels), dtype=np.float32)  # of the light, by each ink
    return left[:, :, :3] * left[:, :, 3:]  # (H, W, 3)


def _stores_white_as_zero(image: ImageFile) -> bool:
    """Say whether a TIFF is a negative; Pillow itself turns 1- and 8-bit ones round."""
    if not isinstance(image, Tiff.TiffImageFile) or image.tag_v2.get(Tiff.PHOTOMETRIC_INTERPRETATION) != 0:
        return False
    return image.mode == "F" or image.mode.startswith("I;16")


def _hide(pixels: NDArray[Any], key: int | tuple[int, ...]) -> NDArray[Any]:
    """Blacken the pixels of the one colour that a PNG declares transparent."""
    layers = np.atleast_3d(pixels)  # (H, W, 1 or 3)
    shown: NDArray[np.bool_] = (layers != key).any(axis=2, keepdims=True)
    return np.asarray(layers * shown)


def _white(pixels: NDArray[Any]) -> int:
    """Return the sample value that means white."""
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):  # so that NaN fails too
            raise ImageError(
                f"float values reach from {low:g} to {high:g}; expected 0 to 1. Rescale by the sensor's full range."
            )
        return 1
    try:
        return _WHITE[pixels.dtype.newbyteorder("=")]
    except KeyError:
        raise ImageError(f"dtype {pixels.dtype}; expected bool, uint8, uint16, or float in [0, 1].") from None


def _encode(array: NDArray[Any], suffix: str) -> bytes:
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ImageError(f"shape {array.shape}; expected (H, W), or (H, W, 3) for RGB.")
    white = _white(array)
    samples = array if white > 1 else np.rint(np.multiply(array, 255, dtype=np.float32)).astype(np.uint8)
    opencv_order = samples if samples.ndim == 2 else samples[:, :, ::-1]  # BGR
    is_encoded, data = cv2.imencode(suffix, np.ascontiguousarray(opencv_order))
    if not is_encoded:
        raise OutputError(f"shape {array.shape} cannot be encoded as {suffix}; use .png or .tif.")
    return data.tobytes()
