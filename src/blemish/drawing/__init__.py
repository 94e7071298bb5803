"""Pictures drawn by ourselves: surfaces of many kinds (`surfaces`) and defects with their masks (`flaws`).

They feed the demo and the tests, need no download, and are deterministic from a seed.

Example:
    >>> import numpy as np
    >>> rng = np.random.default_rng(seed=7)
    >>> cloth = SURFACES["woven_fabric"](rng)
    >>> good = draw_surface(cloth, rng, height=64, width=96)
    >>> defective, mask = FLAWS["stain"](good, rng)
    >>> defective.shape, bool(mask.any())
    ((64, 96), True)
"""

from blemish.drawing.flaws import FLAWS, Flaw
from blemish.drawing.surfaces import SURFACES, Surface, draw_surface

__all__ = ["FLAWS", "SURFACES", "Flaw", "Surface", "draw_surface"]
