"""One page of PDF from text, rectangles, lines and JPEGs: as much of the format as a printed summary needs.

Text is text, in the fonts that every reader has, so it is sharp, can be searched, and takes no bytes for fonts; JPEGs
go in as they are. These fonts know the letters of western Europe: others are spelled out, as in ``\\u90e8``.

Source: ISO 32000-1 (PDF 1.7), sections 7.5 (file structure), 8.5 (paths), 8.9 (images), 9.4 (text); widths of letters
from Adobe's font metrics of Helvetica.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final

PAGE_WIDTH: Final = 595.0  # points of 1/72 inch: A4
PAGE_HEIGHT: Final = 842.0

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1

_ENCODING: Final = "cp1252"  # of the fonts; PDF calls it WinAnsiEncoding
_WIDTHS: Final = {  # thousandths of the size -> letters of Helvetica so wide
    191: "'",
    222: "ijl",
    260: "|",
    278: " !,./:;I[\\]ft",
    333: "()-`r",
    334: "{}",
    355: '"',
    389: "*",
    469: "^",
    500: "Jcksvxyz",
    556: "#$0123456789?L_abdeghnopqu–",
    584: "+<=>~×±",
    611: "FTZ",
    667: "&ABEKPSVXY",
    722: "CDHNRUw",
    778: "GOQ",
    833: "Mm",
    889: "%",
    944: "W",
    1000: "…—",
    1015: "@",
}
_WIDTH_OF: Final = {letter: width for width, letters in _WIDTHS.items() for letter in letters}
_WIDEST: Final = 1015  # what a letter that is not listed counts as
_BOLD: Final = 1.15  # a bold text is less than so many times as wide


@dataclass(frozen=True)
class Jpeg:
    """A picture as it lies in a JPEG file."""

    data: bytes
    height: int  # pixels
    width: int
    is_grey: bool


class Page:
    """A sheet of A4 that is drawn on; places are points from its left and upper edges."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._pictures: list[Jpeg] = []

    def text(
        self, x: float, y: float, text: str, size: float, colour: Colour, *, bold: bool = False, at: float = 0.0
    ) -> None:
        """Write a line.

        Args:
            x, y: where its baseline begins.
            text: characters that end a line become blanks.
            size: of the font, points.
            colour: of the letters.
            bold: which of the two fonts.
            at: which part of the line lies at x: 0 its beginning, 0.5 its middle, 1 its end.
        """
        drawn = _encoded(text)
        left = x - at * text_width(drawn.decode(_ENCODING, "replace"), size, bold=bold)
        place = f"{left:.2f} {PAGE_HEIGHT - y:.2f} Td"
        self._content.append(f"BT {_rgb(colour)} rg /F{int(bold)} {size:g} Tf {place} <{drawn.hex()}> Tj ET")

    def rectangle(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle whose upper left corner is (x, y)."""
        self._content.append(f"{_rgb(colour)} rg {x:.2f} {PAGE_HEIGHT - y - height:.2f} {width:.2f} {height:.2f} re f")

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: Colour,
        *,
        width: float = 0.75,
        dash: int = 0,
    ) -> None:
        """Draw a straight line, in dashes of so many points when that is not 0."""
        points = [f"{x:.2f} {PAGE_HEIGHT - y:.2f} {step}" for (x, y), step in ((start, "m"), (end, "l"))]
        dashes = f"[{dash}] 0 d" if dash else "[] 0 d"
        self._content.append(f"{_rgb(colour)} RG {width:g} w {dashes} {' '.join(points)} S")

    def picture(self, x: float, y: float, width: float, jpeg: Jpeg) -> None:
        """Show a picture so wide, with its upper left corner at (x, y)."""
        height = width * jpeg.height / jpeg.width
        self._content.append(
            f"q {width:.2f} 0 0 {height:.2f} {x:.2f} {PAGE_HEIGHT - y - height:.2f} cm /P{len(self._pictures)} Do Q"
        )
        self._pictures.append(jpeg)

    def to_bytes(self, title: str, made: datetime) -> bytes:
        """Return the file."""
        names = " ".join(f"/P{index} {8 + index} 0 R" for index in range(len(self._pictures)))
        fonts = "/Font << /F0 5 0 R /F1 6 0 R >>"
        named = f"\ufeff{title}".encode("utf-16-be", "backslashreplace")
        about = f"/Title <{named.hex()}> /Creator (Blemish)"
        objects = [
            b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH:g} {PAGE_HEIGHT:g}] /Contents 4 0 R "
            f"/Resources << {fonts} /XObject << {names} >> >> >>".encode(),
            _stream("/Filter /FlateDecode", zlib.compress("\n".join(self._content).encode())),
            *(_font(name) for name in ("Helvetica", "Helvetica-Bold")),
            f"<< {about} /CreationDate (D:{made.strftime('%Y%m%d%H%M%S')}) >>".encode(),
            *(_image(jpeg) for jpeg in self._pictures),
        ]
        return _file(objects, root=1, info=7)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return how many points wide a line is; of a bold one, and of rare letters, rather too many."""
    plain = (unicodedata.normalize("NFD", letter)[0] for letter in text)  # é is as wide as e
    width = sum(_WIDTH_OF.get(letter, _WIDEST) for letter in plain) * size / 1000
    return width * _BOLD if bold else width


def fitted(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """Cut a line to a width; of a long name the end stays, where the numbers are."""
    shown = _encoded(text).decode(_ENCODING, "replace")
    if text_width(shown, size, bold=bold) <= width:
        return shown
    room = width - text_width("…", size, bold=bold)
    from_the_end = accumulate(text_width(letter, size, bold=bold) for letter in reversed(shown))
    n_kept = sum(reached <= room for reached in from_the_end)
    return f"…{shown[len(shown) - n_kept :]}"


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Break a text into lines of at most a width; a word that is wider than that is cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, size, width))
    return lines


def _encoded(text: str) -> bytes:
    """Spell a text in the letters that the fonts know."""
    composed = unicodedata.normalize("NFC", text)  # some file systems keep é as two characters
    blanked = "".join(" " if letter < " " else letter for letter in composed)  # line breaks and their like
    return blanked.encode(_ENCODING, "backslashreplace")


def _rgb(colour: Colour) -> str:
    return " ".join(f"{part:.3f}" for part in colour)


def _stream(about: str, data: bytes) -> bytes:
    return f"<< {about} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _font(name: str) -> bytes:
    return f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode()


def _image(jpeg: Jpeg) -> bytes:
    space = "/DeviceGray" if jpeg.is_grey else "/DeviceRGB"
    about = f"/Type /XObject /Subtype /Image /Width {jpeg.width} /Height {jpeg.height} /ColorSpace {space}"
    return _stream(f"{about} /BitsPerComponent 8 /Filter /DCTDecode", jpeg.data)


def _file(objects: Sequence[bytes], *, root: int, info: int) -> bytes:
    """Number the objects from 1, and list where each begins."""
    written = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")  # bytes above 127 tell programs that the file is no text
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(written))
        written += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    start, size = len(written), len(objects) + 1
    entries = ["0000000000 65535 f ", *(f"{place:010} 00000 n " for place in places)]
    written += f"xref\n0 {size}\n".encode() + "".join(f"{entry}\n" for entry in entries).encode()
    written += f"trailer\n<< /Size {size} /Root {root} 0 R /Info {info} 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(written)
