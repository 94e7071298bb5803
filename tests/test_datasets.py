"""Files are listed by the names of folders, whole and never in part; what is refused is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blemish.datasets import (
    GOOD,
    Sample,
    category_name,
    find_categories,
    list_images,
    read_category,
    read_csv,
    read_defective,
    read_good,
    read_marked,
    split_good,
)
from blemish.errors import DatasetError, SettingError

Fill = Callable[..., Path]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Make empty files below ``tmp_path``, which datasets.py must never look into."""

    def fill(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return fill


@pytest.fixture
def bottle(fill: Fill) -> Path:
    """A category in MVTec AD's layout, with the files that systems leave about."""
    return (
        fill(
            "bottle/readme.txt",
            "bottle/train/good/001.png",
            "bottle/train/good/000.png",
            "bottle/train/good/Thumbs.db",
            "bottle/train/good/._000.png",
            "bottle/test/good/000.png",
            "bottle/test/crack/000.png",
            "bottle/test/crack/001.png",
            "bottle/test/crack/002.png",
            "bottle/ground_truth/crack/000_mask.png",
            "bottle/ground_truth/crack/001.bmp",
        )
        / "bottle"
    )


def relative(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


# --- categories ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "sets", "sets/mvtec", "sets/mvtec/2019"])
def test_categories_are_found_down_to_three_levels(below: str, fill: Fill) -> None:
    root = fill(f"{below}/bottle/train/good/0.png" if below else "bottle/train/good/0.png")
    levels = below.count("/") + 2 if below else 1
    if levels <= 3:
        assert find_categories(root) == {"bottle": root / below / "bottle"}
    else:
        with pytest.raises(DatasetError, match="at most 3 levels below"):
            find_categories(root)


def test_a_category_finds_itself(bottle: Path) -> None:
    assert find_categories(str(bottle)) == {"bottle": bottle}


def test_a_category_is_named_after_its_real_folder(bottle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bottle)
    assert list(find_categories(".")) == ["bottle"]


def test_categories_are_sorted(fill: Fill) -> None:
    assert list(find_categories(fill("b/train/good/0.png", "a/train/good/0.png", "Ä c/train/good/0.png"))) == [
        "a",
        "b",
        "Ä c",
    ]


def test_two_categories_of_one_name_are_refused(fill: Fill) -> None:
    with pytest.raises(DatasetError, match=r"Two categories are called 'a': '.*x.a' and '.*y.a'\. Rename one"):
        find_categories(fill("x/a/train/good/0.png", "y/a/train/good/0.png"))


def test_a_folder_without_categories_says_what_it_holds(fill: Fill) -> None:
    with pytest.raises(DatasetError, match=r"found notes\.txt, parts/ \(2 images\)\."):
        find_categories(fill("parts/0.png", "parts/1.png", "notes.txt"))


def test_a_long_folder_is_cut_short(fill: Fill) -> None:
    with pytest.raises(DatasetError, match=r"0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt, 5\.txt and 3 more\."):
        find_categories(fill(*(f"{index}.txt" for index in range(9))))


@pytest.mark.parametrize("read", [find_categories, read_good, list_images])
def test_a_folder_that_is_not_there_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no file or folder '.*gone'"):
        read(tmp_path / "gone")


def test_a_category_is_listed_in_order(bottle: Path) -> None:
    listed = [
        (sample.path.relative_to(bottle).as_posix(), sample.defect_type, sample.split)
        for sample in read_category(bottle)
    ]
    assert listed == [
        ("train/good/000.png", "good", "train"),
        ("train/good/001.png", "good", "train"),
        ("test/crack/000.png", "crack", "test"),
        ("test/crack/001.png", "crack", "test"),
        ("test/crack/002.png", "crack", "test"),
        ("test/good/000.png", "good", "test"),
    ]


def test_a_category_knows_its_masks(bottle: Path) -> None:
    masks = [sample.mask_path for sample in read_category(bottle) if not sample.is_good]
    truth = bottle / "ground_truth" / "crack"
    assert masks == [truth / "000_mask.png", truth / "001.bmp", None]


def test_samples_bear_the_name_of_their_category(bottle: Path) -> None:
    assert {sample.category for sample in read_category(bottle)} == {"bottle"}


def test_a_category_may_have_no_test_images(fill: Fill) -> None:
    assert [sample.split for sample in read_category(fill("nut/train/good/0.jpg") / "nut")] == ["train"]


def test_a_folder_that_is_no_category_is_refused(fill: Fill) -> None:
    with pytest.raises(DatasetError, match=r"expected train/good inside; found 0\.png"):
        read_category(fill("parts/0.png") / "parts")


# --- good images ---------------------------------------------------------------------------------------------------


def test_of_a_category_the_good_training_images_are_learned(bottle: Path) -> None:
    assert relative(read_good(bottle), bottle) == ["train/good/000.png", "train/good/001.png"]


@pytest.mark.parametrize("place", ["train/good", "test/good"])
def test_the_good_folders_of_a_category_can_be_named(place: str, bottle: Path) -> None:
    assert read_good(bottle / place)[0] == bottle / place / "000.png"


def test_of_a_plain_folder_the_images_directly_inside_are_learned(fill: Fill) -> None:
    names = ["Größe 2.JPG", "a.png", "b.bmp", "c.tiff", "d.webp", "表面.tif"]
    root = fill(*names, "old/0.png", "notes.txt", ".hidden.png", "Thumbs.db")
    assert relative(read_good(root), root) == names


def test_images_in_sub_folders_are_named_when_there_are_none_inside(fill: Fill) -> None:
    with pytest.raises(
        DatasetError, match=r"no images directly inside.*found monday/ \(1 images\), tuesday/ \(2 images\)\."
    ):
        read_good(fill("parts/monday/0.png", "parts/tuesday/0.png", "parts/tuesday/1.png") / "parts")


@pytest.mark.parametrize("read", [read_good, list_images])
def test_an_empty_folder_says_what_was_looked_for(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"\.bmp, \.jpeg, \.jpg, \.png, \.tif, \.tiff, \.webp; found nothing\."):
        read(tmp_path)


@pytest.mark.parametrize(
    "name", ["defect", "Defects", "defective", "BAD", "ng", "NOK", "anomaly", "anomalous", "rejects", "faulty"]
)
def test_a_folder_called_defective_is_refused(name: str, fill: Fill) -> None:
    with pytest.raises(DatasetError, match=f"folder name '{name}' speaks of defects"):
        read_good(fill(f"{name}/0.png") / name)


@pytest.mark.parametrize(
    "name", ["badge", "bad parts sorted out", "defect-free", "singing", "no defects", "unrejected"]
)
def test_a_name_that_only_contains_such_a_word_is_taken(name: str, fill: Fill) -> None:
    assert len(read_good(fill(f"{name}/0.png") / name)) == 1


def test_folders_further_up_may_be_called_anything(fill: Fill) -> None:
    assert len(read_good(fill("defects/bad/monday/0.png") / "defects/bad/monday")) == 1


def test_a_folder_is_refused_by_its_real_name(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill("bad/0.png") / "bad")
    with pytest.raises(DatasetError, match="'bad'"):
        read_good(".")


def test_a_folder_with_defective_sub_folders_is_refused(fill: Fill) -> None:
    with pytest.raises(DatasetError, match="folder name 'NOK' speaks of defects"):
        read_good(fill("parts/0.png", "parts/NOK/1.png") / "parts")


@pytest.mark.parametrize("place", ["test/crack", "ground_truth/crack", "test/crack/monday"])
def test_the_defective_images_of_a_category_are_refused(place: str, bottle: Path, fill: Fill) -> None:
    fill("bottle/test/crack/monday/0.png")
    with pytest.raises(DatasetError, match=f"'{place[:-7] if 'monday' in place else place}' speaks of defects"):
        read_good(bottle / place)


def test_a_test_folder_outside_of_a_category_is_taken(fill: Fill) -> None:
    assert len(read_good(fill("test/parts/0.png") / "test/parts")) == 1


def test_an_image_in_place_of_a_folder_is_refused(fill: Fill) -> None:
    with pytest.raises(DatasetError, match=r"0\.png' cannot be listed \(Not a directory\)\. Expected a folder"):
        read_good(fill("0.png") / "0.png")


# --- CSV -----------------------------------------------------------------------------------------------------------


def write_csv(root: Path, text: str, encoding: str = "utf-8") -> Path:
    path = root / "list.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("place", ["", "test/crack"])
def test_defective_images_are_those_of_a_category_or_of_a_folder(place: str, bottle: Path) -> None:
    names = [f"test/crack/{index:03}.png" for index in range(3)]
    assert relative(read_defective(bottle / place), bottle) == names


def test_defective_images_of_a_csv_are_those_it_calls_so(fill: Fill) -> None:
    root = fill("0.png", "1.png")
    path = write_csv(root, "path,defect_type\n0.png,good\n1.png,crack\n")
    assert read_defective(path) == [root / "1.png"]


def test_a_folder_of_good_and_defective_images_is_refused(bottle: Path) -> None:
    with pytest.raises(DatasetError, match="called 'good'"):
        read_defective(bottle / "test")


@pytest.mark.parametrize("place", ["", "test/crack"])
def test_masks_are_found_from_the_category_and_from_the_folder_of_a_defect(place: str, bottle: Path) -> None:
    found = {sample.path.stem: sample.mask_path for sample in read_marked(bottle / place)}
    truth = bottle / "ground_truth" / "crack"
    assert found == {"000": truth / "000_mask.png", "001": truth / "001.bmp", "002": None}


def test_the_mask_of_one_image_is_found_too(bottle: Path) -> None:
    (sample,) = read_marked(bottle / "test" / "crack" / "001.png")
    assert sample.mask_path == bottle / "ground_truth" / "crack" / "001.bmp"


def test_masks_beside_images_are_no_images(fill: Fill) -> None:
    root = fill("bad/a.png", "bad/a_mask.bmp", "bad/b.png", "bad/c_mask.png", "bad/more/b_mask.png", "bad/more/b.jpg")
    found = [(sample.path, sample.mask_path) for sample in read_marked(root / "bad")]
    assert read_defective(root / "bad") == [path for path, _ in found]
    assert found == [
        (root / "bad/a.png", root / "bad/a_mask.bmp"),
        (root / "bad/b.png", None),
        (root / "bad/c_mask.png", None),
        (root / "bad/more/b.jpg", root / "bad/more/b_mask.png"),
    ]


def test_masks_of_a_csv_are_those_it_names(fill: Fill) -> None:
    root = fill("0.png", "1.png", "1_mask.png", "m.png")
    path = write_csv(root, "path,defect_type,mask\n0.png,crack,m.png\n1.png,crack,\n")
    assert [sample.mask_path for sample in read_marked(path)] == [root / "m.png", None]


def test_a_category_without_defective_images_has_none(fill: Fill) -> None:
    with pytest.raises(DatasetError, match="no defective image"):
        read_defective(fill("tile/train/good/0.png") / "tile")


def test_a_csv_names_everything(fill: Fill) -> None:
    root = fill("a b/0.png", "1.png", "m.png")
    path = write_csv(
        root, 'path,category,defect_type,split,mask,note\n"a b/0.png",nut,good,train,,x\n1.png,nut,crack,test,m.png,\n'
    )
    assert read_csv(path) == [
        Sample(root / "a b/0.png", "nut", GOOD, "train", None),
        Sample(root / "1.png", "nut", "crack", "test", root / "m.png"),
    ]


def test_a_csv_of_paths_is_enough(fill: Fill) -> None:
    root = fill("0.png", "1.png")
    assert read_csv(write_csv(root, "path\n1.png\n0.png\n")) == [
        Sample(root / "1.png", "list", GOOD, "train"),
        Sample(root / "0.png", "list", GOOD, "train"),
    ]


def test_defective_images_are_for_testing_by_default(fill: Fill) -> None:
    assert read_csv(write_csv(fill("0.png"), "path,defect_type\n0.png,crack\n"))[0].split == "test"


@pytest.mark.parametrize(
    "text", ["path\r\n0.png\r\n", "path\n\n0.png\n\n", "path, split\n0.png, train \n", "path,split\n0.png\n"]
)
def test_a_csv_may_come_from_any_editor(text: str, fill: Fill) -> None:
    assert read_csv(write_csv(fill("0.png"), text, "utf-8-sig")) == [
        Sample(Path(fill() / "0.png"), "list", GOOD, "train")
    ]


def test_absolute_paths_in_a_csv_stay(fill: Fill) -> None:
    root = fill("elsewhere/0.png", "lists/x")
    assert (
        read_csv(write_csv(root / "lists", f"path\n{root / 'elsewhere/0.png'}\n"))[0].path == root / "elsewhere/0.png"
    )


WRONG_CSVS = {
    "no header": ("", "line 1: expected a column 'path'.*found nothing"),
    "another column": ("file,split\n0.png,train\n", "line 1: expected a column 'path'.*found file, split"),
    "semicolons": ("path;split\n0.png;train\n", "commas; found path;split"),
    "no lines": ("path\n", "names no image"),
    "missing file": ("path\n0.png\n2.png\n", "line 3: there is no file '2.png'"),
    "no path": ("path,split\n0.png,train\n,train\n", "line 3: there is no file ''"),
    "a folder": ("path\n.\n", "line 2: there is no file '.'"),
    "missing mask": ("path,defect_type,mask\n0.png,crack,m.png\n", "line 2: there is no file 'm.png'"),
    "unknown split": ("path,split\n0.png,train\n1.png,valid\n", "line 3: split is 'valid'; expected 'train' or 'test'"),
    "defect to learn": ("path,defect_type,split\n0.png,crack,train\n", "line 2: defect type 'crack' in split 'train'"),
    "named twice": ("path\n0.png\n1.png\n./0.png\n", "line 4: .*0.png' is in line 2 already"),
}


@pytest.mark.parametrize("kind", WRONG_CSVS)
def test_a_wrong_csv_is_refused_with_the_line(kind: str, fill: Fill) -> None:
    text, reason = WRONG_CSVS[kind]
    with pytest.raises(DatasetError, match=rf"list\.csv'.*{reason}"):
        read_csv(write_csv(fill("0.png", "1.png"), text))


def test_a_csv_in_another_encoding_is_refused(fill: Fill) -> None:
    with pytest.raises(DatasetError, match="Save it as CSV in UTF-8"):
        read_csv(write_csv(fill("Größe.png"), "path\nGröße.png\n", "latin-1"))


def test_a_missing_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_csv(tmp_path / "gone.csv")


def test_of_a_csv_the_good_training_images_are_learned(fill: Fill) -> None:
    root = fill("0.png", "1.png", "2.png")
    path = write_csv(root, "path,defect_type,split\n0.png,good,train\n1.png,good,test\n2.png,crack,test\n")
    assert read_good(path) == [root / "0.png"]


def test_a_csv_of_several_categories_cannot_be_learned_as_one(fill: Fill) -> None:
    path = write_csv(fill("0.png", "1.png"), "path,category\n0.png,nut\n1.png,bolt\n")
    with pytest.raises(DatasetError, match=r"2 categories \(bolt, nut\); expected the images of one category"):
        read_good(path)


def test_a_category_may_be_a_csv(fill: Fill) -> None:
    path = write_csv(fill("0.png", "1.png"), "path,category,defect_type\n0.png,nut,good\n1.png,nut,crack\n")
    assert read_category(path) == read_csv(path)


def test_a_csv_of_several_categories_is_none(fill: Fill) -> None:
    path = write_csv(fill("0.png", "1.png"), "path,category,defect_type\n0.png,nut,good\n1.png,bolt,crack\n")
    with pytest.raises(DatasetError, match=r"2 categories \(bolt, nut\)"):
        read_category(path)


def test_a_csv_without_training_images_cannot_be_learned(fill: Fill) -> None:
    with pytest.raises(DatasetError, match="names no good training image"):
        read_good(write_csv(fill("0.png"), "path,split\n0.png,test\n"))


# --- names of categories -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("bottle", "bottle"),
        ("bottle/train/good", "bottle"),
        ("bottle/test/good", "bottle"),
        ("nut/good", "nut"),
        ("caps", "caps"),
        ("train/good", "good"),
    ],
)
def test_a_category_is_named_after_what_its_images_are_of(source: str, name: str, bottle: Path, fill: Fill) -> None:
    root = fill("nut/good/0.png", "caps/0.png", "train/good/train/good/0.png")
    assert category_name(root / source) == name


def test_a_csv_names_its_category(fill: Fill) -> None:
    assert category_name(write_csv(fill("0.png"), "path,category\n0.png,nut\n")) == "nut"


@pytest.mark.parametrize("text", ["path\n0.png\n1.png\n", "path,category\n0.png,nut\n1.png,bolt\n"])
def test_a_csv_of_no_or_several_categories_is_named_after_its_file(text: str, fill: Fill) -> None:
    assert category_name(write_csv(fill("0.png", "1.png"), text)) == "list"


# --- images to inspect ---------------------------------------------------------------------------------------------


def test_a_file_is_listed_as_it_is(fill: Fill) -> None:
    assert list_images(fill("notes.txt") / "notes.txt") == [fill() / "notes.txt"]


def test_a_folder_is_listed_with_all_below(fill: Fill) -> None:
    root = fill("b.png", "a/2.PNG", "a/1.jpg", "a/deep/er/0.tif", "notes.txt", ".cache/0.png", "a/._1.jpg")
    assert relative(list_images(root), root) == ["a/1.jpg", "a/2.PNG", "a/deep/er/0.tif", "b.png"]


def test_a_folder_that_ends_like_an_image_is_a_folder(fill: Fill) -> None:
    root = fill("scan.png/0.png")
    assert relative(list_images(root), root) == ["scan.png/0.png"]


def test_links_in_a_circle_end(fill: Fill) -> None:
    root = fill("a/0.png")
    (root / "a" / "back").symlink_to(root, target_is_directory=True)
    assert relative(list_images(root), root) == ["a/0.png"]


def test_linked_folders_are_listed(fill: Fill) -> None:
    root = fill("elsewhere/deep/0.png", "parts/1.png") / "parts"
    (root / "monday").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    assert relative(list_images(root), root) == ["1.png", "monday/deep/0.png"]


def test_a_folder_with_two_names_is_listed_by_its_own(fill: Fill) -> None:
    root = fill("b/0.png", "c/1.png")
    (root / "a").symlink_to(root / "b", target_is_directory=True)
    (root / "c" / "link").symlink_to(root / "b", target_is_directory=True)
    assert relative(list_images(root), root) == ["b/0.png", "c/1.png"]


def test_of_a_csv_all_images_are_listed(fill: Fill) -> None:
    root = fill("1.png", "0.png")
    path = write_csv(root, "path,category,defect_type\n1.png,nut,crack\n0.png,bolt,good\n")
    assert relative(list_images(path), root) == ["1.png", "0.png"]


# --- dividing ------------------------------------------------------------------------------------------------------

SAMPLES = [Sample(Path(f"{index:02}.png"), "nut", GOOD, "train") for index in range(11)]
CRACK = Sample(Path("crack.png"), "nut", "crack", "test")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_every_good_sample_is_in_exactly_one_part(seed: int, fraction: float) -> None:
    first, second = split_good(SAMPLES, seed, fraction)
    assert sorted([*first, *second], key=lambda sample: sample.path) == SAMPLES


@pytest.mark.parametrize(("fraction", "n_first"), [(0.1, 1), (0.5, 6), (0.8, 9)])
def test_the_first_part_has_its_share(fraction: float, n_first: int) -> None:
    assert len(split_good(SAMPLES, 0, fraction)[0]) == n_first


def test_the_same_seed_divides_alike() -> None:
    assert split_good(SAMPLES, 3) == split_good(SAMPLES[::-1], 3)


def test_another_seed_divides_otherwise() -> None:
    assert split_good(SAMPLES, 3) != split_good(SAMPLES, 4)


def test_defective_samples_are_in_neither_part() -> None:
    first, second = split_good([*SAMPLES, CRACK], 0)
    assert CRACK not in [*first, *second]


@pytest.mark.parametrize("n_good", [0, 1])
def test_too_few_good_samples_cannot_be_divided(n_good: int) -> None:
    with pytest.raises(DatasetError, match=f"{n_good} good images cannot be divided"):
        split_good([*SAMPLES[:n_good], CRACK], 0)


@pytest.mark.parametrize("fraction", [-1, 0, 1, 50])
def test_a_fraction_is_between_0_and_1(fraction: float) -> None:
    with pytest.raises(SettingError, match="more than 0 and less than 1"):
        split_good(SAMPLES, 0, fraction)


# --- real data -----------------------------------------------------------------------------------------------------

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real images of ../shared/data are not here")
@pytest.mark.parametrize(
    ("category", "n_train", "n_good", "n_defective", "n_masks"),
    [
        ("transistor", 213, 60, 40, 40),
        ("metal_nut", 220, 0, 48, 0),
        ("commutator", 230, 103, 50, 50),
        ("magnetic_tile", 761, 191, 392, 392),
    ],
)
def test_real_categories_are_complete(category: str, n_train: int, n_good: int, n_defective: int, n_masks: int) -> None:
    samples = read_category(find_categories(DATA)[category])
    tested = [sample for sample in samples if sample.split == "test"]
    assert len(samples) - len(tested) == n_train
    assert sum(sample.is_good for sample in tested) == n_good
    assert sum(not sample.is_good for sample in tested) == n_defective
    assert sum(sample.mask_path is not None for sample in tested) == n_masks
