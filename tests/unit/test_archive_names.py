"""Names of items: what a path becomes, and that no name leads out of the folder it is restored into."""

from __future__ import annotations

from pathlib import PurePosixPath

import hypothesis
import hypothesis.strategies as st
import pytest

from smalti.codecs.bitstream.names import MOST_PART, key_of, path_of, restored

ENDINGS = (".png", ".webp")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a.png", "a.png"),
        ("deep/er/b c.PNG", "deep/er/b c.PNG"),
        ("Gru\u0308\u00dfe.png", "Gr\u00fc\u00dfe.png"),  # decomposed, as one system hands names out
        ("10.00\u202fAM.png", "10.00 AM.png"),  # the narrow space in names of screenshots
        ("../a.png", ""),
        ("tab\there.png", ""),
        ("lone\udc80.png", ""),
        ("x" * 236 + ".png", "x" * 236 + ".png"),
        ("x" * 237 + ".png", ""),
        ("/".join(["1234567"] * 32), "/".join(["1234567"] * 32)),  # 255 bytes
        ("/".join(["1234567"] * 31 + ["12345678"]), ""),
    ],
)
def test_a_path_becomes_a_name(path: str, key: str) -> None:
    assert key_of(PurePosixPath(path)) == key


HOSTILE = [
    "/etc/x.png", "//host/x.png", "..", "../x.png", "a/../../x.png", "a/..", "./x.png", "a/./x.png", "a//x.png", "a/", ".hidden/x.png",
    "a/.x.png", "C:x.png", "c:/x.png", "a/C:x.png", "C:\\x.png", "..\\x.png", "a\\b.png", "\\\\host\\x.png", "a\nb.png", "a\0b.png",
    "\x1b[2Ja.png", "a\u202egnp.exe", "CON", "a/nul.png", "COM1.tar.png", "lpt\u00b9.png", "x.", "x ", " x", "x./y.png", "x /y.png",
    "x" * (MOST_PART + 1), "ü" * 121, "\udc80.png", "a/" * 127 + "ab",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_a_hostile_name_is_not_followed(key: str) -> None:
    assert path_of(key) is None
    (place,) = restored([(3, key, ".png")], ENDINGS)
    assert str(place.path) == "item-000003.png"
    assert "is no safe relative path; written as item-000003.png" in place.problem
    assert place.problem.isprintable(), "it is shown on a terminal"


@hypothesis.given(st.lists(st.text(st.sampled_from("aA./\\:*\u0131\u212aC O~-\u00fc\ufb01"), max_size=9), max_size=12))
def test_no_two_items_meet_and_none_leaves(keys: list[str]) -> None:
    places = [place.path for place in restored([(i, key, ".png") for i, key in enumerate(keys)], ENDINGS)]
    folded = [str(path).casefold() for path in places]
    assert len(set(folded)) == len(keys)
    assert not {str(parent).casefold() for path in places for parent in path.parents} & set(folded)
    for path in places:
        assert not path.is_absolute()
        assert all(part[0] not in ". " and part[-1] not in ". " and not set(part) & set('\\:*?"<>|') for part in path.parts)
        assert path.suffix == ".png"


def test_where_items_go() -> None:
    keys = ["a.png", "a.webp", "A.PNG", "v1.2", "", "a.png", "item-000004.png", "b/c", "b.png/c", "B/C", 'q"?:.webp', "a.png/d"]
    places = restored([(i, key, ".png") for i, key in enumerate(keys)], ENDINGS)
    assert [str(place.path) for place in places] == [
        "a.png", "a.webp.png", "A.PNG.png", "v1.2.png", "item-000004.png", "item-000005.png", "item-000004.png.png", "b/c.png",
        "b.png/c.png", "item-000009.png", "q___.png", "item-000011.png",
    ]  # fmt: skip
    assert [i for i, place in enumerate(places) if place.problem] == [5, 9, 11]
    assert "'a.png' is taken" in places[5].problem
