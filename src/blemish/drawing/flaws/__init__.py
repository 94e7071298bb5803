"""Draw defects onto a finished image, each with its mask: onto pictures of `surfaces`, or photographs of good parts.

Every function of `FLAWS` takes an image (H, W) float32 in [0, 1] and a generator, and returns the image with one defect
and the mask (H, W) of the pixels where it can be seen. Place, size, shape and strength come from the generator; they
reach from obvious to barely visible. Sizes follow the shorter side of the image. The input is not modified.
"""

from __future__ import annotations

from blemish.drawing.flaws import areas, bodies, elements, lines
from blemish.drawing.flaws.contract import FAINTEST, VISIBLE, Flaw, find_part

__all__ = ["FAINTEST", "FLAWS", "VISIBLE", "Flaw", "find_part"]

_ALL: tuple[Flaw, ...] = (
    lines.scratch,
    lines.crack,
    lines.fibre,
    areas.dent,
    bodies.pit,
    areas.stain,
    areas.missing_print,
    lines.gouge,
    lines.scuff,
    lines.crazing,
    lines.crease,
    lines.broken_thread,
    lines.pulled_thread,
    areas.bulge,
    areas.smear,
    areas.haze,
    areas.discolouration,
    areas.corrosion,
    areas.distortion,
    bodies.inclusion,
    bodies.debris,
    bodies.dust,
    bodies.drops,
    bodies.hole,
    elements.chip,
    elements.missing_element,
    elements.extra_element,
    elements.displaced_element,
)

FLAWS: dict[str, Flaw] = {flaw.__name__: flaw for flaw in _ALL}
