"""The errors that Smalti raises on purpose.

Each message is one line: the file or argument, what was found, what was expected, and the way out. Whoever calls Smalti can
catch `SmaltiError` alone; anything else that escapes is a bug of ours.
"""


class SmaltiError(Exception):
    """What all of ours have in common."""


class BitstreamError(SmaltiError):
    """A file is damaged, cut short, hostile, or of a version this release does not know."""


class SignalError(SmaltiError):
    """An input signal or media file cannot be used."""


class ModelError(SmaltiError):
    """A model is missing, has other weights than the file asks for, or its parts do not fit together."""


class UsageError(SmaltiError):
    """The call itself is wrong: an unknown name, two targets at once, an output that cannot be written."""


class DamageWarning(UserWarning):
    """A damaged file was decoded all the same. lost: a line on each thing that was wrong, left out or concealed."""

    def __init__(self, lost: tuple[str, ...]) -> None:
        super().__init__("; ".join(lost))
        self.lost = lost
