import pytest

from smalti.codecs import notes
from smalti.tokenizers.errors import UsageError


def test_every_note_survives_its_bit() -> None:
    assert notes.from_bits(notes.to_bits(notes.NAMES)) == notes.NAMES
    for i, name in enumerate(notes.NAMES):
        assert notes.to_bits((name,)) == 1 << i


def test_order_is_that_of_the_format() -> None:
    assert notes.from_bits(notes.to_bits((notes.GRAY, notes.ORIENTATION))) == (notes.ORIENTATION, notes.GRAY)


def test_the_names_are_frozen() -> None:
    assert notes.NAMES[:3] == ("EXIF orientation applied", "alpha dropped (flattened on white)", "metadata dropped (EXIF, XMP, comments)")
    assert len(notes.NAMES) == 10


def test_notes_of_a_later_release_survive() -> None:
    assert notes.to_bits(notes.from_bits(1 << 20 | 1)) == 1 << 20 | 1


@pytest.mark.parametrize("name", ["", "nonsense", "unknown note 3", "unknown note 28", "unknown note x"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        notes.to_bits((name,))


@pytest.mark.parametrize("bits", [-1, 1 << 28])
def test_bits_are_bounded(bits: int) -> None:
    with pytest.raises(UsageError):
        notes.from_bits(bits)
