"""The paper's own experiment: its split of MVTec AD, its 20 defect types, and the numbers it printed.

Tayeh, Aburakhia, Myers, Shami 2020, Figures 6 and 7. `DEFECT_TYPES` is derived, as the paper has no such list: from the
columns that are filled for each category, and the folders of MVTec AD. Nothing here is measured by this program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from blemish.datasets import GOOD
from blemish.evaluation.protocols import Auroc, ScoredSample

PAPER_KNOWN = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "transistor",
)  # fmt: skip
PAPER_UNKNOWN = ("tile", "toothbrush", "wood", "zipper")

PAPER_DEFECT_TYPES = (  # the columns of Figures 6 and 7, from left to right
    "broken", "contamination", "crack", "imprint", "poke", "scratch", "cut", "hole", "thread", "bent",
    "missing", "combined", "swap", "squeeze", "glue", "fold", "flip", "misplaced", "liquid", "rough",
)  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """Marks a folder of MVTec AD that has no column in the paper's tables."""

    reason: str


_COLOUR = LeftOut("a pure colour defect; the images are grey")

# Category -> folder of MVTec AD -> the paper's defect type. "Not certain" marks guesses; the names tell the rest.
DEFECT_TYPES: dict[str, dict[str, str | LeftOut]] = {
    "bottle": {
        "broken_large": "broken",
        "broken_small": "broken",
        "contamination": "contamination",
    },
    "cable": {
        "bent_wire": "bent",
        "cable_swap": "swap",
        "combined": "combined",
        "cut_inner_insulation": "cut",
        "cut_outer_insulation": "cut",
        "missing_cable": "missing",
        "missing_wire": "missing",
        "poke_insulation": "poke",
    },
    "capsule": {
        "crack": "crack",
        "faulty_imprint": "imprint",
        "poke": "poke",
        "scratch": "scratch",
        "squeeze": "squeeze",
    },
    "carpet": {
        "color": _COLOUR,
        "cut": "cut",
        "hole": "hole",
        "metal_contamination": "contamination",
        "thread": "thread",
    },
    "grid": {
        "bent": "bent",
        "broken": "broken",
        "glue": "glue",
        "metal_contamination": "contamination",
        "thread": "thread",
    },
    "hazelnut": {
        "crack": "crack",
        "cut": "cut",
        "hole": "hole",
        "print": "imprint",
    },
    "leather": {
        "color": _COLOUR,
        "cut": "cut",
        "fold": "fold",
        "glue": "glue",
        "poke": "poke",
    },
    "metal_nut": {
        "bent": "bent",
        "color": _COLOUR,
        "flip": "flip",
        "scratch": "scratch",
    },
    "pill": {
        "color": _COLOUR,
        "combined": "combined",
        "contamination": "contamination",
        "crack": "crack",
        "faulty_imprint": "imprint",
        # Not certain: five columns are filled and five other folders fill them, so this one is left.
        "pill_type": LeftOut("a pill of another kind, told by the colour of its specks; no column remains for it"),
        "scratch": "scratch",
    },
    "screw": {
        # Not certain: the paper fills "scratch" and "thread" only, and a damaged tip is neither.
        "manipulated_front": LeftOut("a damaged tip; the paper's two columns for screws are scratch and thread"),
        "scratch_head": "scratch",
        "scratch_neck": "scratch",
        "thread_side": "thread",
        "thread_top": "thread",
    },
    "transistor": {
        "bent_lead": "bent",
        "cut_lead": "cut",
        "damaged_case": "broken",
        "misplaced": "misplaced",
    },
    "tile": {
        "crack": "crack",
        "glue_strip": "glue",
        # Not certain: four columns are filled; a pencil stroke changes the shade only, and fits none of them.
        "gray_stroke": LeftOut("a stroke that changes the shade only, like a colour defect"),
        "oil": "liquid",
        "rough": "rough",
    },
    "toothbrush": {
        "defective": "combined",
    },
    "wood": {
        "color": _COLOUR,
        "combined": "combined",
        "hole": "hole",
        "liquid": "liquid",
        "scratch": "scratch",
    },
    # Not certain: seven folders share six columns. Broken, combined, rough and squeeze have folders of these names;
    # which of the fabric defects is "cut" and which "hole", and that split teeth count as broken, are guesses.
    "zipper": {
        "broken_teeth": "broken",
        "combined": "combined",
        "fabric_border": "cut",
        "fabric_interior": "hole",
        "rough": "rough",
        "split_teeth": "broken",
        "squeezed_teeth": "squeeze",
    },
}


def paper_defect_type(category: str, folder: str) -> str | None:
    """Name the defect type under which the paper counts a folder; None where the paper leaves it out.

    Folders that MVTec AD does not have, and all folders of categories outside it, keep their own name.

    Example:
        >>> paper_defect_type("transistor", "damaged_case"), paper_defect_type("wood", "color")
        ('broken', None)
        >>> paper_defect_type("magnetic_tile", "blowhole")
        'blowhole'
    """
    defect_type = DEFECT_TYPES.get(category, {}).get(folder, folder)
    return None if isinstance(defect_type, LeftOut) else defect_type


def group_as_paper(samples: Iterable[ScoredSample]) -> list[ScoredSample]:
    """Rename defect types to those of the paper and leave out the samples that the paper leaves out; good ones stay."""
    grouped = []
    for sample in samples:
        defect_type = GOOD if sample.defect_type == GOOD else paper_defect_type(sample.category, sample.defect_type)
        if defect_type is not None:
            grouped.append(replace(sample, defect_type=defect_type))
    return grouped


@dataclass(frozen=True)
class PublishedTable:
    """One table of AUROCs as the paper prints it, with the means as printed, even where its cells say otherwise."""

    source: str  # where it stands
    cells: dict[str, dict[str, float]]  # category -> defect type -> AUROC, mean of three runs
    category_means: dict[str, float]
    defect_type_means: dict[str, float]
    mean_of_defect_types: float
    mean_of_categories: float

    def results(self) -> list[Auroc]:
        """Return the cells in the form of our own results, with one value each, ready for the same table."""
        return [
            Auroc(category, defect_type, category in PAPER_KNOWN, (value,))
            for category, row in self.cells.items()
            for defect_type, value in row.items()
        ]


PUBLISHED = {
    "staar": PublishedTable(
        source="Tayeh et al. 2020, Figure 6: the approach of Staar et al.",
        cells={
            "bottle": {"broken": 0.634, "contamination": 0.820},
            "cable": {"poke": 0.883, "cut": 0.943, "bent": 0.819, "missing": 0.849, "combined": 0.932, "swap": 1.000},
            "capsule": {"crack": 0.883, "imprint": 0.798, "poke": 0.827, "scratch": 0.823, "squeeze": 1.000},
            "carpet": {"contamination": 0.788, "cut": 1.000, "hole": 1.000, "thread": 0.940},
            "grid": {"broken": 0.816, "contamination": 1.000, "thread": 0.685, "bent": 0.823, "glue": 1.000},
            "hazelnut": {"crack": 1.000, "imprint": 0.948, "cut": 0.969, "hole": 1.000},
            "leather": {"poke": 1.000, "cut": 0.866, "glue": 0.971, "fold": 0.884},
            "metal_nut": {"scratch": 0.734, "bent": 0.756, "flip": 0.671},
            "pill": {"contamination": 0.858, "crack": 0.770, "imprint": 0.782, "scratch": 0.725, "combined": 1.000},
            "screw": {"scratch": 0.639, "thread": 0.817},
            "transistor": {"broken": 0.846, "cut": 0.719, "bent": 0.822, "misplaced": 0.604},
            "tile": {"crack": 1.000, "glue": 0.861, "liquid": 0.896, "rough": 0.942},
            "toothbrush": {"combined": 0.835},
            "wood": {"scratch": 0.827, "hole": 0.899, "combined": 1.000, "liquid": 0.994},
            "zipper": {
                "broken": 0.845, "cut": 1.000, "hole": 0.953, "combined": 0.926, "squeeze": 0.838, "rough": 0.941,
            },
        },
        category_means={
            "bottle": 0.727, "cable": 0.904, "capsule": 0.866, "carpet": 0.932, "grid": 0.865, "hazelnut": 0.979,
            "leather": 0.930, "metal_nut": 0.720, "pill": 0.827, "screw": 0.728, "transistor": 0.748, "tile": 0.925,
            "toothbrush": 0.835, "wood": 0.930, "zipper": 0.917,
        },
        defect_type_means={
            "broken": 0.785, "contamination": 0.867, "crack": 0.913, "imprint": 0.843, "poke": 0.903,
            "scratch": 0.750, "cut": 0.916, "hole": 0.963, "thread": 0.814, "bent": 0.805,
            "missing": 0.849, "combined": 0.939, "swap": 1.000, "squeeze": 0.919, "glue": 0.944,
            "fold": 0.884, "flip": 0.671, "misplaced": 0.604, "liquid": 0.945, "rough": 0.942,
        },
        mean_of_defect_types=0.863,
        mean_of_categories=0.856,
    ),
    "proposed": PublishedTable(
        source="Tayeh et al. 2020, Figure 7: the proposed approach",
        cells={
            "bottle": {"broken": 1.000, "contamination": 0.883},
            "cable": {"poke": 1.000, "cut": 1.000, "bent": 0.935, "missing": 1.000, "combined": 0.959, "swap": 1.000},
            "capsule": {"crack": 0.941, "imprint": 0.845, "poke": 0.860, "scratch": 0.920, "squeeze": 1.000},
            "carpet": {"contamination": 0.932, "cut": 1.000, "hole": 1.000, "thread": 1.000},
            "grid": {"broken": 1.000, "contamination": 0.947, "thread": 0.893, "bent": 1.000, "glue": 0.962},
            "hazelnut": {"crack": 0.939, "imprint": 1.000, "cut": 1.000, "hole": 1.000},
            "leather": {"poke": 1.000, "cut": 0.866, "glue": 0.866, "fold": 1.000},
            "metal_nut": {"scratch": 0.702, "bent": 0.870, "flip": 1.000},
            "pill": {"contamination": 0.860, "crack": 0.819, "imprint": 0.813, "scratch": 0.883, "combined": 1.000},
            "screw": {"scratch": 0.925, "thread": 0.854},
            "transistor": {"broken": 1.000, "cut": 1.000, "bent": 1.000, "misplaced": 1.000},
            "tile": {"crack": 1.000, "glue": 0.911, "liquid": 0.856, "rough": 1.000},
            "toothbrush": {"combined": 1.000},
            "wood": {"scratch": 1.000, "hole": 1.000, "combined": 1.000, "liquid": 1.000},
            "zipper": {
                "broken": 0.945, "cut": 1.000, "hole": 0.925, "combined": 0.956, "squeeze": 1.000, "rough": 1.000,
            },
        },
        category_means={
            "bottle": 0.942, "cable": 0.982, "capsule": 0.913, "carpet": 0.983, "grid": 0.960, "hazelnut": 0.985,
            "leather": 0.933, "metal_nut": 0.857, "pill": 0.875, "screw": 0.890, "transistor": 1.000, "tile": 0.942,
            "toothbrush": 1.000, "wood": 1.000, "zipper": 0.971,
        },
        defect_type_means={
            "broken": 0.986, "contamination": 0.905, "crack": 0.925, "imprint": 0.886, "poke": 0.953,
            "scratch": 0.886, "cut": 0.978, "hole": 0.981, "thread": 0.916, "bent": 0.951,
            "missing": 1.000, "combined": 0.983, "swap": 1.000, "squeeze": 1.000, "glue": 0.913,
            "fold": 1.000, "flip": 1.000, "misplaced": 1.000, "liquid": 0.928, "rough": 1.000,
        },
        mean_of_defect_types=0.960,
        mean_of_categories=0.949,
    ),
}  # fmt: skip
