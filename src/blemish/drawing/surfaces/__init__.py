"""Draw surfaces: a kind is drawn once from a seed, then any number of images of that kind, each a little different.

A family (`SURFACES`) draws the parameters of one kind: thread pitch, grain direction, geometry of a part, light and
camera. The result, a `Surface`, is handed to `draw_surface` with a generator and a size. Textures have their sizes in
pixels: a larger image shows more of them. Parts and prints fit the shorter side: a larger image shows them finer.
"""

from __future__ import annotations

from blemish.drawing.surfaces.castings import cast_part
from blemish.drawing.surfaces.kind import Family, Surface, draw_surface
from blemish.drawing.surfaces.metal import brushed_metal
from blemish.drawing.surfaces.natural import leather
from blemish.drawing.surfaces.prints import printed_label
from blemish.drawing.surfaces.textiles import woven_fabric

__all__ = ["SURFACES", "Family", "Surface", "draw_surface"]

SURFACES: dict[str, Family] = {
    "brushed_metal": brushed_metal,
    "woven_fabric": woven_fabric,
    "leather": leather,
    "cast_part": cast_part,
    "printed_label": printed_label,
}
