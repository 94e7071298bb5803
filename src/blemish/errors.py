"""Errors a caller can act on: each says what was found, what was expected and what to do.

BlemishError
├── SettingError       an option has a value that makes no sense
├── ImageError         an image cannot be read or cannot be used
│   └── UnreadError    its bytes were not to be had, so it may be sound: worth another attempt
├── DatasetError       a folder or list does not hold what is needed
├── ModelFileError     a .blemish file is damaged, foreign, or from a newer version
├── TrainingError      learning failed, or a checkpoint belongs to another run
├── ClusterError       the machines that were to inspect cannot be reached, or cannot do it
├── OutputError        a result cannot be written (read-only or full disk)
│   └── StorageError   the station cannot keep what it was given, so it was not answered
├── StationError       the station's folder is in use, damaged, or from a newer version
├── NotFoundError      the station has no part, version, inspection or user of this name
├── ConflictError      the station holds something that speaks against it, such as a part of the same name
├── AccessError        a name, password or token is wrong, too old, or not enough
├── BusyError          the station has as much to do as it can hold; try again a little later
└── MissingExtraError  a part of Blemish is not installed
"""

from __future__ import annotations


class BlemishError(Exception):
    """Any error that Blemish raises on purpose; catch this one to catch them all."""


class SettingError(BlemishError, ValueError):
    """An option has a value outside its range; the message names the range."""


class ImageError(BlemishError):
    """An image cannot be read or used; the message names the file and the reason."""


class UnreadError(ImageError):
    """An image was not to be had, for want of the file, a permission, a store or memory; it may be sound."""


class DatasetError(BlemishError):
    """A folder, tree or CSV does not hold the images that were asked for."""


class ModelFileError(BlemishError):
    """A ``.blemish`` file is truncated, changed, foreign, or from a newer version."""


class TrainingError(BlemishError):
    """Learning cannot start, go on, or be trusted; the message says which, and what to do."""


class ClusterError(BlemishError):
    """A cluster cannot be reached or cannot do the work; rows that were written stay, and the same command goes on."""


class OutputError(BlemishError):
    """A result cannot be written; what was there before is still there."""


class StorageError(OutputError):
    """The station's disk or database refuses; nothing of what was asked is kept, all that was answered still is."""


class StationError(BlemishError):
    """The station cannot be opened: another server has it, it is damaged, foreign, or from a newer version."""


class NotFoundError(BlemishError):
    """The station has nothing of this name or number; the message says what it looked for."""


class ConflictError(BlemishError):
    """What was asked does not fit what the station holds; nothing was changed."""


class AccessError(BlemishError):
    """A person or token is not let in; the message never says which half of name and password was wrong."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        """Keep how many seconds to wait before the next attempt is looked at; 0: it may come at once."""
        super().__init__(message)
        self.retry_after = retry_after


class BusyError(BlemishError):
    """The station has as much to do as it can hold; nothing of what was asked was begun."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        """Keep after how many seconds it is worth trying again."""
        super().__init__(message)
        self.retry_after = retry_after


class MissingExtraError(BlemishError, ImportError):
    """A part of Blemish that is not installed was called; the message has the pip command."""

    @classmethod
    def of(cls, error: ModuleNotFoundError, extra: str = "learn") -> MissingExtraError:
        """Say of a failed import which extra brings the missing package."""
        return cls(f"This needs {error.name}, which is not installed. Install it with: pip install 'blemish[{extra}]'")
