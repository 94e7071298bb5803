"""Why an image was stopped: its worst place, the nearest good place, and its score among those of good images."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish import Detector, Verdict
from blemish.datasets import read_category
from blemish.detection.evidence import PATCH, Patches, cut, find_evidence
from blemish.detection.preparation import Preparation, Prepared
from blemish.detection.scoring import Geometry
from blemish.errors import ModelFileError
from blemish.images import read_image
from blemish.learning.pictures import patches_of
from blemish.learning.reference import Reference, nearest_reference
from blemish.results import Evidence, FloatArray

HALF = PATCH // 2
GEOMETRY = Geometry(centre=2, stride=4, scale_y=2.0, scale_x=3.0)


def noise(height: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def smooth_pictures(n: int, height: int, width: int) -> np.ndarray:
    """Pictures that JPEG changes little."""
    rows, columns = np.indices((height, width))
    return np.stack([100 + 10 * np.sin(rows / 9 + i) + 5 * i + columns % 50 for i in range(n)]).astype(np.uint8)


def make_evidence(
    distance_map: FloatArray, score: float = 1.0, good: tuple[float, ...] = (), size: tuple[int, int] = (999, 999)
) -> Evidence:
    prepared = noise(4 * distance_map.shape[0], 4 * distance_map.shape[1])
    image = Prepared(*prepared.shape, lambda top, bottom: prepared[top:bottom])
    return find_evidence(distance_map, score, good, image, None, None, GEOMETRY, size)


# --- patches -----------------------------------------------------------------------------------------------------


def test_a_patch_is_the_window_whose_middle_is_the_place() -> None:
    image = noise(200, 150)
    assert (cut(image, 90, 60) == image[90 - HALF : 90 + HALF, 60 - HALF : 60 + HALF]).all()


@pytest.mark.parametrize("size", [(200, 150), (20, 90), (1, 1)])
def test_beyond_the_border_a_patch_goes_on_as_the_border_does(size: tuple[int, int]) -> None:
    image = noise(*size)
    wide = np.pad(image, HALF, mode="edge")
    row, column = size[0] - 1, 0
    assert (cut(image, row, column) == wide[row : row + PATCH, column : column + PATCH]).all()


@pytest.mark.parametrize("shape", [(1, 64, 64), (7, 64, 64), (5, 96, 200), (3, 300, 40)])
def test_patches_come_back_from_bytes(shape: tuple[int, int, int]) -> None:
    places = np.array([[shape[0] - 1, 9, 8], [0, 30, 39]], dtype=np.uint16)
    patches = Patches(smooth_pictures(*shape), places)
    again = Patches.from_bytes(patches.to_bytes())
    assert (again.places == places).all()
    assert again.pictures.shape == shape
    assert np.abs(again.pictures.astype(int) - patches.pictures).max() < 20
    assert np.abs(again.show(0) - cut(patches.pictures[-1] / np.float32(255), 9, 8)).max() < 0.1


def test_pictures_of_noise_are_small_in_the_file_all_the_same() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (1024, PATCH, PATCH), dtype=np.uint8)
    assert len(Patches(pictures, np.zeros((1, 3), np.uint16)).to_bytes()) < 2**21


def packed(**arrays: object) -> bytes:
    right = {"sheet": np.frombuffer(b"no picture", np.uint8), "size": np.array([1, 64, 64]), "places": np.zeros((1, 3))}
    file = io.BytesIO()
    np.savez(file, **{**right, **arrays})  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"PK", packed(), packed(size=np.array([0])), packed(sheet=np.array([{}]))])
def test_what_holds_no_patches_is_refused(data: bytes) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        Patches.from_bytes(data)


@pytest.mark.parametrize("place", [[2, 0, 0], [0, 64, 0], [0, 0, 80]])
def test_a_place_on_no_picture_is_refused(place: list[int]) -> None:
    with pytest.raises(ModelFileError, match="do not fit"):
        Patches.from_bytes(Patches(smooth_pictures(2, 64, 80), np.array([place], np.uint16)).to_bytes())


# --- evidence ----------------------------------------------------------------------------------------------------


def test_the_worst_place_is_where_the_map_is_largest() -> None:
    distance_map = noise(30, 40)
    distance_map[7, 21] = 2.5
    found = make_evidence(distance_map)
    assert (found.row, found.column) == (round((7 * 4 + 2) * 2 - 0.5), round((21 * 4 + 2) * 3 - 0.5))
    assert found.distance == 2.5
    prepared = noise(120, 160)
    assert (found.found == cut(prepared, 30, 86)).all()


def test_the_worst_place_lies_on_the_image_where_that_was_continued() -> None:
    distance_map = noise(9, 9)
    distance_map[8, 8] = 2.5
    found = make_evidence(distance_map, size=(2 * 33, 3 * 34))  # of 33 x 34 prepared pixels, continued to 36 x 36
    assert (found.row, found.column) == (65, 101)


def test_the_score_is_ranked_among_those_of_good_images() -> None:
    found = make_evidence(noise(9, 9), score=2.0, good=(0.5, 2.0, 1.0, 3.0))
    assert (found.n_good, found.n_good_below) == (4, 2)
    assert found.sentence() == "Score above 2 of 4 good images."


def test_a_score_above_all_is_called_so() -> None:
    assert "all 3 good images" in make_evidence(noise(9, 9), score=9.0, good=(0.5, 2.0, 1.0)).sentence()


def test_without_good_scores_nothing_is_said_of_them() -> None:
    assert make_evidence(noise(9, 9)).sentence() == ""


# --- what the reference set was made from --------------------------------------------------------------------------


def embeddings_of(n: int, h: int, w: int) -> list[torch.Tensor]:
    drawn = torch.randn(n, 8, h, w, generator=torch.Generator().manual_seed(0))
    return list(torch.nn.functional.normalize(drawn, dim=1) * 4)


@pytest.mark.parametrize(("kind", "n"), [(Reference.CATEGORY, 3), (Reference.LOCATION, 3), (Reference.LOCATION, 12)])
def test_every_embedding_is_shown_by_the_place_it_comes_from(kind: Reference, n: int) -> None:
    embeddings = embeddings_of(n, 12, 14)
    images = smooth_pictures(n, 48, 56) / np.float32(255)
    reference = nearest_reference(embeddings, kind, torch.Generator().manual_seed(0))
    patches = patches_of(reference, embeddings, lambda index: images[index])
    assert len(patches.places) == len(reference.vectors)
    for number in range(0, len(reference.vectors), 7):
        apart = torch.stack([(each - reference.vectors[number][:, None, None]).norm(dim=0) for each in embeddings])
        image, row, column = (int(i) for i in torch.unravel_index(apart.argmin(), apart.shape))
        expected = cut(images[image], 4 * row + 2, 4 * column + 2)
        assert np.abs(patches.show(number) - expected).max() < 0.01


def test_of_many_images_those_are_shown_that_come_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    from blemish.learning import pictures

    monkeypatch.setattr(pictures, "_MOST_PX", 5 * 48 * 56)
    embeddings = embeddings_of(12, 12, 14)
    reference = nearest_reference(embeddings, Reference.LOCATION, torch.Generator().manual_seed(0))
    patches = patches_of(reference, embeddings, lambda index: np.full((48, 56), index / 20, np.float32))
    assert len(patches.pictures) == 5
    kept = [round(float(picture[0, 0]) / 255 * 20) for picture in patches.pictures]
    for number in range(0, len(reference.vectors), 7):
        y, x = divmod(number % (12 * 14), 14)
        apart = [float((embeddings[index][:, y, x] - reference.vectors[number]).norm()) for index in kept]
        assert patches.places[number, 0] == np.argmin(apart)


# --- detectors ---------------------------------------------------------------------------------------------------


def images_of(category_dir: Path, defect_type: str) -> list[Path]:
    return [s.path for s in read_category(category_dir) if s.split == "test" and s.defect_type == defect_type]


def test_a_stopped_image_is_shown_beside_a_good_place(nearest_detector: Detector, category_dir: Path) -> None:
    found = nearest_detector.with_threshold(0.0).inspect(images_of(category_dir, "stain")[0]).evidence
    assert found is not None
    assert found.nearest is not None
    assert found.nearest.shape == found.found.shape == (PATCH, PATCH)
    assert 20 <= found.row <= 90
    assert 30 <= found.column <= 110


def test_the_distance_is_the_peak_of_the_strongest_region(nearest_detector: Detector, category_dir: Path) -> None:
    for path in images_of(category_dir, "stain"):
        found = nearest_detector.with_threshold(0.0).inspect(path)
        assert found.evidence is not None
        assert found.evidence.distance == found.regions[0].peak == found.max_distance


def test_an_image_is_prepared_once_whatever_is_found(
    nearest_detector: Detector, category_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, prepared = list[object](), Preparation.prepared
    monkeypatch.setattr(Preparation, "prepared", lambda self, image: images.append(image) or prepared(self, image))
    stopped = next(s.path for s in read_category(category_dir) if s.defect_type == "stain")
    assert nearest_detector.inspect(stopped).evidence is not None
    assert len(images) == 1


def test_a_good_image_needs_no_evidence(nearest_detector: Detector, category_dir: Path) -> None:
    found = nearest_detector.with_threshold(99.0).inspect(images_of(category_dir, "good")[0])
    assert found.verdict is Verdict.GOOD
    assert found.evidence is None
    assert found.to_dict()["evidence"] is None


def test_an_older_file_and_the_papers_methods_have_no_good_place_to_show(
    detector: Detector, nearest_detector: Detector, category_dir: Path
) -> None:
    older = Detector(replace(nearest_detector.model, patches=None))
    for each in (older, detector):
        found = each.with_threshold(0.0).inspect(images_of(category_dir, "stain")[0]).evidence
        assert found is not None
        assert found.nearest is None
        assert found.n_good == 3


def test_evidence_comes_back_from_the_file(nearest_detector: Detector, category_dir: Path, tmp_path: Path) -> None:
    nearest_detector.with_threshold(0.0).save(tmp_path / "m.blemish")
    loaded = Detector.load(tmp_path / "m.blemish")
    assert loaded.model.patches == nearest_detector.model.patches
    path = images_of(category_dir, "stain")[0]
    first, again = (each.with_threshold(0.0).inspect(path).evidence for each in (nearest_detector, loaded))
    assert first == again
    assert first is not None
    assert again is not None
    assert (first.nearest == again.nearest).all()  # type: ignore[union-attr]


def test_the_record_holds_numbers_and_no_pictures(nearest_detector: Detector, category_dir: Path) -> None:
    record = nearest_detector.with_threshold(0.0).inspect(images_of(category_dir, "stain")[0]).to_dict()
    assert set(json.loads(json.dumps(record))["evidence"]) == {"row", "column", "distance", "n_good", "n_good_below"}


def test_pixels_and_file_have_the_same_evidence(nearest_detector: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "stain")[0]
    stopped = nearest_detector.with_threshold(0.0)
    assert stopped.inspect(path).evidence == stopped.inspect(read_image(path)).evidence
