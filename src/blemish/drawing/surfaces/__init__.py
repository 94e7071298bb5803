"""Draw surfaces: a kind is drawn once from a seed, then any number of images of that kind, each a little different.

A family (`SURFACES`) draws the parameters of one kind: thread pitch, grain direction, geometry of a part, light and
camera. The result, a `Surface`, is handed to `draw_surface` with a generator and a size. Textures have their sizes in
pixels: a larger image shows more of them. Parts and prints fit the shorter side: a larger image shows them finer.

A family is wide: of two kinds one may be fine and bright, the other coarse, dark and glossy under grazing light.
"""

from __future__ import annotations

from blemish.drawing.surfaces import (
    circuits,
    items,
    metal,
    natural,
    parts,
    patterns,
    prints,
    seams,
    stochastic,
    textiles,
)
from blemish.drawing.surfaces.castings import cast_part
from blemish.drawing.surfaces.kind import Family, Surface, draw_surface

__all__ = ["SURFACES", "Family", "Surface", "draw_surface"]

_FAMILIES: tuple[Family, ...] = (
    metal.brushed_metal,
    textiles.woven_fabric,
    natural.leather,
    cast_part,
    prints.printed_label,
    metal.rolled_metal,
    metal.cast_skin,
    metal.blasted_metal,
    metal.lacquer,
    metal.turned_metal,
    metal.milled_metal,
    metal.sanded_metal,
    metal.honed_metal,
    metal.spangled_zinc,
    metal.scaled_metal,
    metal.foil,
    textiles.cloth,
    textiles.carbon_fibre,
    textiles.knit,
    textiles.felt,
    textiles.carpet,
    natural.moulded_grain,
    natural.wood,
    natural.granite,
    natural.marble,
    natural.concrete,
    natural.foam,
    natural.pressed_board,
    natural.paper,
    patterns.perforated_sheet,
    patterns.embossed_sheet,
    patterns.tiles,
    patterns.wire_mesh,
    patterns.honeycomb,
    patterns.ribbed,
    patterns.wafer,
    patterns.printed_pattern,
    patterns.dot_screen,
    patterns.solar_cell,
    stochastic.toned_noise,
    stochastic.raised_noise,
    stochastic.cellular,
    stochastic.labyrinth,
    stochastic.folded_layers,
    stochastic.strewn_leaves,
    stochastic.patchwork,
    stochastic.grained_order,
    prints.print_on_material,
    seams.sheet_edge,
    seams.weld_seam,
    seams.sewn_seam,
    seams.zip_fastener,
    items.pads,
    items.pills,
    items.fasteners,
    items.brush,
    parts.plate,
    parts.ring,
    parts.turning,
    parts.part_group,
    parts.chip_package,
    circuits.circuit_board,
    parts.connector,
    parts.cable,
    parts.kernel,
)

SURFACES: dict[str, Family] = {family.__name__: family for family in _FAMILIES}
