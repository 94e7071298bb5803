"""What the pages say, in the language of the one who reads: one JSON file a language, ``texts/LANGUAGE.json``.

Another language is a copy of ``texts/en.json`` whose values are translated; nothing else has to be told of it. What it
lacks is said in English. Values in braces, such as ``{n}``, are filled in. A key that ends in ``.one`` is said of one
thing, the same with ``.other`` of any other number of them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any, Final

FALLBACK: Final = "en"
_SCRIPTS: Final = "js."  # keys that begin so are said by scripts, and reach them with the page
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


class Texts:
    """The texts of one language.

    Args:
        language: name of a file below ``texts/``, without its ending.
    """

    def __init__(self, language: str = FALLBACK) -> None:
        self.language = language
        self._texts = _read(FALLBACK) | _read(language)

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its values filled in.

        Raises:
            KeyError: there is no such text, or it wants a value that was not given.
        """
        return self._texts[key].format(**values)

    def counted(self, key: str, n: int, **values: Any) -> str:
        """Return a text about ``n`` things, which it names ``{n}``."""
        return self(f"{key}.{'one' if n == 1 else 'other'}", n=f"{n:,}", **values)

    def of(self, group: str, name: str) -> str:
        """Return the text ``GROUP.NAME``; the name itself where there is none, for names that only machines know."""
        return self._texts.get(f"{group}.{name}", name)

    def for_scripts(self) -> dict[str, str]:
        """Return what scripts say, by keys without their first word."""
        return {key.removeprefix(_SCRIPTS): text for key, text in self._texts.items() if key.startswith(_SCRIPTS)}

    def keys(self) -> set[str]:
        """Return the names of all texts."""
        return set(self._texts)


@cache
def languages() -> frozenset[str]:
    """Return which languages there are."""
    return frozenset(file.name.removesuffix(".json") for file in _folder().iterdir() if file.name.endswith(".json"))


def texts_for(accepted: str) -> Texts:
    """Return the texts in the first language that a browser accepts and that there is.

    Args:
        accepted: header ``Accept-Language``.

    Example:
        >>> texts_for("tlh, en-GB;q=0.8").language
        'en'
    """
    return _texts(_chosen(accepted))


def _chosen(accepted: str) -> str:
    known = languages()
    for item in accepted.lower().split(","):
        name = item.split(";")[0].strip()
        if _LANGUAGE.fullmatch(name):
            for candidate in (name, name.split("-")[0]):
                if candidate in known:
                    return candidate
    return FALLBACK


@cache
def _texts(language: str) -> Texts:
    return Texts(language)


def _folder() -> Any:
    return resources.files("blemish.station") / "texts"


@cache
def _read(language: str) -> dict[str, str]:
    read: dict[str, str] = json.loads((_folder() / f"{language}.json").read_text(encoding="utf-8"))
    return read
