"""What a user sees is what is promised."""

import blemish


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert blemish.__all__ == sorted(blemish.__all__)
    for name in blemish.__all__:
        assert getattr(blemish, name).__name__ == name


def test_nothing_else_is_visible_but_parts_of_the_package() -> None:
    modules = {name for name in vars(blemish) if getattr(vars(blemish)[name], "__package__", None) is not None}
    helpers = {"annotations", "import_module", "Any", "TYPE_CHECKING"}
    visible = {name for name in vars(blemish) if not name.startswith("_")}
    assert visible - modules - helpers <= set(blemish.__all__)


def test_every_public_name_says_what_it_is() -> None:
    for name in blemish.__all__:
        assert (getattr(blemish, name).__doc__ or "").strip()
