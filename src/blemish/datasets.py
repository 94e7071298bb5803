"""List the images of a data set, and say what each one is; nothing is decoded here.

In comes a folder in MVTec AD's layout, a plain folder of images, or a CSV; out come paths or `Sample` records, always
in the same order. Names of folders are compared whole, never as parts of a path: ``/home/badger/parts`` is no
folder of bad parts.

    <category>/train/good/*                               what a detector learns from
    <category>/test/good/*, test/<defect type>/*          what it is judged by
    <category>/ground_truth/<defect type>/<stem>_mask.*   where the defects are, if that is known (or <stem>.*)
"""

from __future__ import annotations

import csv
import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np

from blemish.errors import DatasetError, ImageError, SettingError
from blemish.images import IMAGE_SUFFIXES

GOOD = "good"  # MVTec AD's name for images without a defect

_DEPTH = 3  # levels below the root at which categories are looked for
_N_NAMED = 6  # names that an error lists
_DEFECT_NAMES = frozenset({  # whole folder names, in lower case
    "abnormal", "anomalies", "anomalous", "anomaly", "bad", "broken", "damaged", "defect", "defective", "defects",
    "fail", "failed", "fault", "faults", "faulty", "ng", "nok", "not_good", "not_ok", "reject", "rejected", "rejects",
    "scrap",
})  # fmt: skip

Split = Literal["train", "test"]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Sample:
    """One listed image and what is known about it."""

    path: Path
    category: str  # kind of part or surface
    defect_type: str  # GOOD, or the name of the folder or CSV entry
    split: Split
    mask_path: Path | None = None  # where its defects are; None when nobody has marked them

    @property
    def is_good(self) -> bool:
        """Say whether the image shows no defect."""
        return self.defect_type == GOOD


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file: what tells whether an image has been seen before, whatever its name.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read ({error.strerror}). Check the path and its permissions.") from error


def by_content(paths: Sequence[Path]) -> dict[str, Path]:
    """Key files by `content_hash`, in their order; of copies the first stays, so that none counts twice."""
    different: dict[str, Path] = {}
    for path in paths:
        different.setdefault(content_hash(path), path)
    return different


def spread_over(items: Sequence[_Item], most: int) -> list[_Item]:
    """Take so many at most, spread over all: files are often sorted by what they show."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)]


def find_categories(root: Path | str) -> dict[str, Path]:
    """Find every category at or below a folder.

    Args:
        root: a category folder, or a folder at most three levels above some.

    Returns:
        Name of the category (its folder's name) and its folder, sorted by folder.

    Raises:
        DatasetError: there is none, or two have the same name.
    """
    root = Path(root)
    categories: dict[str, Path] = {}
    for folder in _category_folders(root, _DEPTH):
        name = folder.resolve().name
        if name in categories:
            raise DatasetError(
                f"Two categories are called '{name}': '{categories[name]}' and '{folder}'. "
                "Rename one, or name a folder that holds only one of them."
            )
        categories[name] = folder
    if not categories:
        raise DatasetError(
            f"'{root}' holds no category: expected <category>/train/good at most {_DEPTH} levels below; "
            f"found {_contents(root)}. Name the folder of a category or one above it."
        )
    return categories


def category_name(source: Path | str) -> str:
    """Name the category of what `read_good` takes.

    Returns:
        Of a CSV the one category it names, or its stem if there are several; otherwise the name of the folder. Folders
        called ``good`` are named after what they are the good images of: ``bottle/train/good`` and ``bottle/good`` are
        of category ``bottle``.

    Raises:
        DatasetError: the CSV cannot be read.
    """
    source = Path(source)
    if _is_csv(source):
        categories = {sample.category for sample in read_csv(source)}
        return categories.pop() if len(categories) == 1 else source.stem
    folder = source.resolve()
    if folder.name == GOOD and not (folder / "train" / GOOD).is_dir():
        folder = folder.parent.parent if folder.parent.name in ("train", "test") else folder.parent
    return folder.name


def read_category(source: Path | str) -> list[Sample]:
    """List a category: good training images, then test images by defect type.

    Args:
        source: a folder in MVTec AD's layout, or a ``.csv`` as `read_csv` takes it, whose order is kept.

    Raises:
        DatasetError: the folder has no images in ``train/good``, or the CSV names more than one category.
    """
    folder = Path(source)
    if _is_csv(folder):
        return _samples_of_one_category(folder)
    category = folder.resolve().name
    train_dir, test_dir = folder / "train" / GOOD, folder / "test"
    if not train_dir.is_dir():
        raise DatasetError(f"'{folder}' is no category: expected train/good inside; found {_contents(folder)}.")
    samples = [Sample(path, category, GOOD, "train") for path in _images_or_error(train_dir)]
    for type_dir in _folders(test_dir) if test_dir.is_dir() else []:
        masks = _masks(folder / "ground_truth" / type_dir.name)
        for path in _images(type_dir):
            samples.append(Sample(path, category, type_dir.name, "test", _mask_of(path.stem, masks)))
    return samples


def read_good(source: Path | str) -> list[Path]:
    """List the good images to learn from, and refuse a source that plainly holds defective ones.

    Args:
        source: a category folder (its ``train/good`` is taken), a plain folder of images (those directly inside), or a
            ``.csv`` as `read_csv` takes it (its good training images).

    Raises:
        DatasetError: there are no images, or the folder's name, place or sub-folders speak of defects.
    """
    source = Path(source)
    if _is_csv(source):
        return _good_of_csv(source)
    folder = source / "train" / GOOD if (source / "train" / GOOD).is_dir() else source
    _refuse_defects(folder)
    return _images_or_error(folder)


def read_defective(source: Path | str) -> list[Path]:
    """List defective images, and refuse a source that plainly holds good ones too.

    Args:
        source: an image, a category folder or a ``.csv`` as `read_csv` takes it (of both the defective images), or
            another folder (all images in it and below, but for masks: ``0815_mask.png`` beside ``0815.png``, whatever
            the suffixes).

    Raises:
        DatasetError: there are none, or one of the folders is called ``good``.
    """
    source = Path(source)
    if _is_csv(source) or (source / "train" / GOOD).is_dir():
        paths = [sample.path for sample in read_category(source) if not sample.is_good]
        if not paths:
            raise DatasetError(f"'{source}' names no defective image; expected some in test/<defect type>.")
        return paths
    listed = list_images(source)
    masks = {path.with_name(f"{path.stem}_mask") for path in listed}
    paths = [path for path in listed if path.with_suffix("") not in masks]
    if good := [path for path in paths if path.resolve().parent.name == GOOD]:
        raise DatasetError(
            f"'{good[0]}' lies in a folder called '{GOOD}'; expected defective images only. "
            "Name the folders of the defect types, or the folder of the whole category."
        )
    return paths


def read_marked(source: Path | str) -> list[Sample]:
    """List defective images with the masks that mark their defects; ``mask_path`` is None where there is no mask.

    Args:
        source: as for `read_defective`. Outside of category folders and CSVs the mask of ``0815.png`` is
            ``0815_mask.png`` beside it, whatever the suffix; or, for images in ``test/<defect type>``, it is that or
            ``0815.png`` in ``ground_truth/<defect type>``.

    Raises:
        DatasetError: as for `read_defective`.
    """
    source = Path(source)
    if _is_csv(source) or (source / "train" / GOOD).is_dir():
        read_defective(source)  # refuses a source without defective images
        return [sample for sample in read_category(source) if not sample.is_good]
    paths = read_defective(source)
    samples: list[Sample] = []
    for folder in dict.fromkeys(path.parent for path in paths):
        beside, place = _masks(folder), folder.resolve()
        apart = _masks(place.parent.parent / "ground_truth" / place.name) if place.parent.name == "test" else {}
        for path in (path for path in paths if path.parent == folder):
            mask_path = beside.get(f"{path.stem}_mask", _mask_of(path.stem, apart))
            samples.append(Sample(path, "", place.name, "test", mask_path))
    return samples


def read_csv(path: Path | str) -> list[Sample]:
    """List the images that a CSV names, in its order.

    Args:
        path: UTF-8, separated by commas, with a header. Column ``path`` is needed; ``category`` (by default the file's
            name), ``defect_type`` (``good``), ``split`` (``train`` for good images, ``test`` for defective ones) and
            ``mask`` (none) are optional. Paths are relative to the CSV's folder. Other columns are ignored.

    Raises:
        DatasetError: the file cannot be read, or a line is wrong; the message has its number.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, restval="")
            if "path" not in (reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise DatasetError(
                    f"'{path}', line 1: expected a column 'path' in a header with commas; found {found}."
                )
            samples = _samples(path, reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}). Save it as CSV in UTF-8, separated by commas."
        ) from error
    if not samples:
        raise DatasetError(f"'{path}' has a header but names no image. Add one line per image.")
    return samples


def list_images(source: Path | str) -> list[Path]:
    """List what is to be inspected: a file itself, the images of a CSV, or all images in a folder and below, sorted.

    Links to folders are followed; a folder that can be reached in several ways is listed once. The masks of a category
    folder in MVTec AD's layout are not listed.

    Raises:
        DatasetError: there is no such file or folder, no image in it, or the CSV is wrong.
    """
    source = Path(source)
    if _is_csv(source):
        return [sample.path for sample in read_csv(source)]
    if source.is_file():
        return [source]
    return _images_or_error(source, recursive=True)


def split_good(samples: Sequence[Sample], seed: int, fraction: float = 0.5) -> tuple[list[Sample], list[Sample]]:
    """Divide the good samples at random into two parts, as the paper does with those of a known category.

    Args:
        samples: their order does not matter; defective ones are left out.
        seed: the same seed divides the same samples in the same way.
        fraction: share of the first part, more than 0 and less than 1.

    Returns:
        First and second part, each in random order; together every good sample once.

    Raises:
        SettingError: ``fraction`` is out of its range.
        DatasetError: there are too few good samples for two parts.

    Source: Tayeh et al. 2020, sec. III (half of the good images train, the other half test).
    """
    if not 0 < fraction < 1:
        raise SettingError(f"fraction is {fraction}; expected more than 0 and less than 1.")
    good = sorted((sample for sample in samples if sample.is_good), key=lambda sample: sample.path)
    n_first = int(len(good) * fraction + 0.5)
    if not 0 < n_first < len(good):
        raise DatasetError(
            f"{len(good)} good images cannot be divided at {fraction:g}; expected 1 or more in each part."
        )
    order = np.random.default_rng(seed).permutation(len(good))
    return [good[index] for index in order[:n_first]], [good[index] for index in order[n_first:]]


def _category_folders(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "train" / GOOD).is_dir():
        yield folder
    elif depth:
        for inner in _folders(folder):
            yield from _category_folders(inner, depth - 1)


def _masks(folder: Path) -> dict[str, Path]:
    """Return the images of a folder, masks among them, by their stem; none when there is no such folder."""
    return {path.stem: path for path in _images(folder)} if folder.is_dir() else {}


def _mask_of(stem: str, masks: dict[str, Path]) -> Path | None:
    return masks.get(f"{stem}_mask", masks.get(stem))


def _refuse_defects(folder: Path) -> None:
    place = folder.resolve()
    names = [place.name, *(inner.name for inner in _folders(folder))]
    suspects = [name for name in names if name.casefold() in _DEFECT_NAMES]
    suspects += [f"{level.parent.name}/{level.name}" for level in (place, *place.parents) if _is_defect_type(level)]
    if suspects:
        raise DatasetError(
            f"'{folder}': the folder name '{suspects[0]}' speaks of defects; expected good images only. "
            "Name the folder that holds the good ones, or move the defective ones elsewhere."
        )


def _is_defect_type(folder: Path) -> bool:
    """Say whether a folder is the ``test/<defect type>`` or ``ground_truth/<defect type>`` of a category."""
    kind, category = folder.parent.name, folder.parent.parent
    if kind not in ("test", "ground_truth") or folder.name == GOOD:
        return False
    return any((category / sign).is_dir() for sign in ("train", f"test/{GOOD}", "ground_truth"))


def _is_csv(source: Path) -> bool:
    return source.suffix.lower() == ".csv" and source.is_file()


def _samples_of_one_category(path: Path) -> list[Sample]:
    samples = read_csv(path)
    categories = sorted({sample.category for sample in samples})
    if len(categories) > 1:
        found = f"{len(categories)} categories ({', '.join(categories)})"
        raise DatasetError(f"'{path}' names {found}; expected the images of one category. Make a CSV for each.")
    return samples


def _good_of_csv(path: Path) -> list[Path]:
    paths = [sample.path for sample in _samples_of_one_category(path) if sample.split == "train"]
    if not paths:
        raise DatasetError(f"'{path}' names no good training image. Put good images into split 'train'.")
    return paths


def _samples(csv_path: Path, reader: csv.DictReader[str]) -> list[Sample]:
    """Turn the lines of a CSV into samples; an image named twice could be both learned from and judged."""
    samples: list[Sample] = []
    first_lines: dict[Path, int] = {}
    for row in reader:
        try:
            sample = _sample(csv_path, {name: row[name].strip() for name in reader.fieldnames or ()})
        except DatasetError as error:
            raise DatasetError(f"'{csv_path}', line {reader.line_num}: {error}") from error
        first = first_lines.setdefault(sample.path.resolve(), reader.line_num)
        if first != reader.line_num:
            raise DatasetError(
                f"'{csv_path}', line {reader.line_num}: '{sample.path}' is in line {first} already. Remove one of them."
            )
        samples.append(sample)
    return samples


def _sample(csv_path: Path, row: dict[str, str]) -> Sample:
    defect_type = row.get("defect_type") or GOOD
    split = row.get("split") or ("train" if defect_type == GOOD else "test")
    if split not in ("train", "test"):
        raise DatasetError(f"split is '{split}'; expected 'train' or 'test'.")
    if split == "train" and defect_type != GOOD:
        raise DatasetError(f"defect type '{defect_type}' in split 'train'; only '{GOOD}' is learned from. Use 'test'.")
    mask_path = _existing(csv_path, row["mask"]) if row.get("mask") else None
    category = row.get("category") or csv_path.stem
    return Sample(_existing(csv_path, row["path"]), category, defect_type, cast(Split, split), mask_path)


def _existing(csv_path: Path, name: str) -> Path:
    path = csv_path.parent / name
    if not path.is_file():
        raise DatasetError(f"there is no file '{name}'; paths are relative to the CSV's folder.")
    return path


def _images_or_error(folder: Path, recursive: bool = False) -> list[Path]:
    images = sorted(_images_below(folder)) if recursive else _images(folder)
    if not images:
        raise DatasetError(
            f"'{folder}' has no images{'' if recursive else ' directly inside'}: expected files ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}; found {_contents(folder)}. Name the folder that holds them."
        )
    return images


def _images_below(top: Path) -> Iterator[Path]:
    waiting, seen = deque([top]), set[Path]()  # the real places seen: links may lead in circles
    while waiting:
        folder = waiting.popleft()
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        yield from _images(folder)
        for inner in _folders(folder):
            if inner.name == "ground_truth" and (folder / "test").is_dir():
                continue  # masks
            if inner.is_symlink():
                waiting.append(inner)  # last, so that a folder goes by its own name where it has one below the top
            else:
                waiting.appendleft(inner)


def _images(folder: Path) -> list[Path]:
    return [item for item in _entries(folder) if item.suffix.lower() in IMAGE_SUFFIXES and item.is_file()]


def _folders(folder: Path) -> list[Path]:
    return [item for item in _entries(folder) if item.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """List what a folder holds, sorted and without hidden files, to which macOS adds one per image."""
    try:
        return sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    except FileNotFoundError:
        raise DatasetError(f"there is no file or folder '{folder}'. Check the path.") from None
    except OSError as error:
        raise DatasetError(
            f"'{folder}' cannot be listed ({error.strerror}). Expected a folder; check the path."
        ) from error


def _contents(folder: Path) -> str:
    """Describe a folder in a few words."""
    entries = _entries(folder)
    names = [f"{item.name}/ ({len(_images(item))} images)" if item.is_dir() else item.name for item in entries]
    rest = len(names) - _N_NAMED
    return (", ".join(names[:_N_NAMED]) or "nothing") + (f" and {rest} more" if rest > 0 else "")
