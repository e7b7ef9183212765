"""Patterns and vocabularies: where each token stands, and that every stream gives back exactly what it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.prepare.packs.patterns import EMPTY, PATTERNS, ROW_END, places
from smalti.prepare.packs.vocabulary import Vocabulary, build, shares_codebook
from smalti.prepare.packs.weaving import Weaver, tokens_of
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens


def stages(count: int, axes: dict[str, int], vocab: int = 8, name: str = "level") -> tuple[Stage, ...]:
    return tuple(Stage(f"{name}{k}", tuple(axes.items()), vocab) for k in range(count))


def layout(*found: Stage) -> Layout:
    return Layout(found, (len(found),))


PICTURE = layout(*stages(2, {"row": 2, "col": 3}))
SOUND = layout(*stages(3, {"channel": 1, "time": 4}))


@pytest.mark.parametrize(
    ("pattern", "given", "row_ends", "expected"),
    [
        ("flatten", PICTURE, False, [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]),
        ("flatten", PICTURE, True, [0, 6, 1, 7, 2, 8, ROW_END, 3, 9, 4, 10, 5, 11, ROW_END]),
        ("coarse-first", PICTURE, True, [0, 1, 2, ROW_END, 3, 4, 5, ROW_END, 6, 7, 8, ROW_END, 9, 10, 11, ROW_END]),
        ("flatten", SOUND, True, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        ("coarse-first", SOUND, True, list(range(12))),
        # MusicGen's table, a step a line
        (
            "delay",
            SOUND,
            True,
            [0, EMPTY, EMPTY, 1, 4, EMPTY, 2, 5, 8, 3, 6, 9, EMPTY, 7, 10, EMPTY, EMPTY, 11],
        ),
        ("delay", layout(*stages(2, {"row": 1, "col": 2})), True, [0, EMPTY, 1, 2, EMPTY, 3]),
        # two channels: both of a frame together
        ("flatten", layout(*stages(2, {"channel": 2, "time": 2})), True, [0, 4, 2, 6, 1, 5, 3, 7]),
        # twice as fine a level: a coarse step and what belongs to it
        ("flatten", layout(Stage("a", (("time", 2),), 4), Stage("b", (("time", 4),), 4)), True, [0, 2, 3, 1, 4, 5]),
        # no whole multiple: one after the other
        ("flatten", layout(Stage("a", (("time", 2),), 4), Stage("b", (("time", 3),), 4)), True, [0, 1, 2, 3, 4]),
        # rows of regions that lines of tokens describe are none of the picture's
        ("flatten", layout(Stage("band0", (("step", 2), ("row", 1), ("col", 2)), 4)), True, [0, 1, 2, 3]),
        # a film: rows of each frame
        ("flatten", layout(Stage("motion", (("time", 2), ("row", 1), ("col", 2)), 4)), True, [0, 1, ROW_END, 2, 3, ROW_END]),
        ("flatten", layout(Stage("plan", (("token", 1),), 4), Stage("scale1", (("component", 3),), 4)), True, [0, 1, 2, 3]),
    ],
)
def test_where_tokens_stand(pattern: str, given: Layout, row_ends: bool, expected: list[int]) -> None:
    assert places(given, pattern, row_ends).tolist() == expected


def test_unknown_and_unfit_patterns_are_refused() -> None:
    with pytest.raises(UsageError, match="choose one of flatten, delay, coarse-first"):
        places(SOUND, "spiral", True)
    with pytest.raises(UsageError, match="levels of one shape"):
        places(layout(Stage("a", (("time", 2),), 4), Stage("b", (("time", 4),), 4)), "delay", True)


@st.composite
def any_tokens(draw: Any) -> tuple[str, Tokens]:
    """(modality, tokens) of a layout like those of our tokenizers."""
    size = st.integers(1, 4)
    levels, vocab = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 5, 70_000]))
    modality = draw(st.sampled_from(["image", "line", "scales", "audio", "snac", "video", "shape", "mesh"]))
    if modality == "image":
        found = stages(levels, {"row": draw(size), "col": draw(size)}, vocab)
    elif modality == "line":
        found = stages(levels, {"step": draw(size), "row": draw(size), "col": draw(size)}, vocab, "band")
    elif modality == "scales":
        found = tuple(Stage(f"scale{k}", (("row", k + 1), ("col", k + 2)), vocab) for k in range(levels))
    elif modality == "audio":
        found = stages(levels, {"channel": draw(st.integers(1, 2)), "time": draw(st.integers(0, 5))}, vocab)
    elif modality == "snac":
        found = tuple(Stage(f"level{k}", (("channel", 1), ("time", 2 * 2**k)), vocab + k) for k in range(levels))
    elif modality == "video":
        axes = {"time": draw(size), "row": draw(size), "col": draw(size)}
        found = (Stage("motion", tuple(axes.items()), 675), *stages(levels, axes, vocab))
    elif modality == "shape":
        found = (Stage("plan", (("token", 1),), 9), *(Stage(f"scale{k}", (("component", k * 3),), vocab) for k in range(1, levels)))
    else:
        corners = draw(size)
        found = (Stage("faces", (("mesh", 1), ("face", 2), ("corner", 3)), corners),
                 Stage("vertices", (("mesh", 1), ("vertex", corners), ("axis", 3)), 128))  # fmt: skip
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = Layout(found, (len(found),), (("height", 5),))
    arrays = tuple(random.integers(0, stage.vocab, stage.shape, dtype=np.int32) for stage in found)
    kinds = {"line": "image", "scales": "image", "snac": "audio", "mesh": "shape"}
    return kinds.get(modality, modality), Tokens(made, arrays)


@given(any_tokens(), st.sampled_from(sorted(PATTERNS)), st.booleans(), st.booleans())
def test_every_stream_gives_back_its_tokens(made: tuple[str, Tokens], pattern: str, row_ends: bool, bos: bool) -> None:
    modality, tokens = made
    if pattern == "delay" and len({stage.axes for stage in tokens.layout.stages}) > 1:
        return
    weaver = Weaver(build([(modality, tokens.layout)]), pattern, row_ends, bos)
    ids = weaver.ids(modality, tokens)
    assert ids.dtype == weaver.vocabulary.dtype
    assert int(ids.max()) < weaver.vocabulary.total
    assert ids[0] == weaver.vocabulary.special("bos" if bos else f"begin-{modality}")
    assert (ids[-2], ids[-1]) == (weaver.vocabulary.special(f"end-{modality}"), weaver.vocabulary.special("eod"))
    assert weaver.tokens(modality, tokens.layout, ids) == tokens


def woven() -> tuple[Weaver, Tokens, np.ndarray]:
    weaver = Weaver(build([("image", PICTURE)]), "flatten")
    tokens = tokens_of(PICTURE, np.arange(12, dtype=np.int32) % 8)
    return weaver, tokens, weaver.ids("image", tokens)


@pytest.mark.parametrize("place", [0, 1, 2, 8, -1])
def test_ids_of_another_vocabulary_are_refused(place: int) -> None:
    weaver, _, ids = woven()
    ids[place] = weaver.vocabulary.special("empty")
    with pytest.raises(BitstreamError, match=rf"place {place % len(ids)} of a document, expected"):
        weaver.tokens("image", PICTURE, ids)


def test_documents_of_another_length_are_refused() -> None:
    weaver, _, ids = woven()
    with pytest.raises(BitstreamError, match="a document of 17 ids, expected 18"):
        weaver.tokens("image", PICTURE, ids[:-1])


def test_codes_beyond_their_vocabulary_are_refused() -> None:
    weaver, tokens, _ = woven()
    codes = np.concatenate([array.ravel() for array in tokens.arrays])[None]
    codes[0, 3] = 8
    with pytest.raises(BitstreamError, match="outside its stage's vocabulary"):
        weaver.weave("image", PICTURE).ids(codes)


def test_tokens_of_some_regions_are_refused() -> None:
    array = np.zeros((1, 2), np.int32)
    tokens = Tokens(layout(Stage("grid", (("row", 1), ("col", 2)), 4)), (array,), (np.array([[True, False]]),))
    with pytest.raises(UsageError, match="only some regions"):
        Weaver(build([("image", tokens.layout)]), "flatten").ids("image", tokens)


def test_specials_come_first_and_levels_follow() -> None:
    found = build([("audio", SOUND), ("image", PICTURE)])
    assert [(r.name, r.base, r.size) for r in found.ranges[:5]] == [
        ("pad", 0, 1), ("bos", 1, 1), ("eod", 2, 1), ("row-end", 3, 1), ("empty", 4, 1)
    ]  # fmt: skip
    assert [(r.name, r.base, r.size, r.level) for r in found.ranges[5:]] == [
        ("begin-image", 5, 1, -1), ("end-image", 6, 1, -1), ("begin-audio", 7, 1, -1), ("end-audio", 8, 1, -1),
        ("image.level0", 9, 8, 0), ("image.level1", 17, 8, 1),
        ("audio.level0", 25, 8, 0), ("audio.level1", 33, 8, 1), ("audio.level2", 41, 8, 2),
    ]  # fmt: skip
    assert found.total == 49
    assert found == build([("image", PICTURE), ("audio", SOUND), ("image", PICTURE)])  # in whatever order


def test_levels_of_one_codebook_share_their_ids() -> None:
    found = build([("image", PICTURE), ("audio", SOUND)], shared=["image"])
    image = next(r for r in found.ranges if r.name == "image")
    assert (image.size, image.stages) == (8, ("level0", "level1"))
    assert found.of_stage("image", "level0", 8) == found.of_stage("image", "level1", 8) == image
    assert found.total == 49 - 8


@pytest.mark.parametrize(
    ("quantizer", "expected"),
    [
        ({"kind": "line", "codebook": {"kind": "vq"}}, True),
        ({"kind": "multi-scale", "codebook": {"kind": "vq"}, "shared": True}, True),
        ({"kind": "multi-scale", "codebook": {"kind": "vq"}, "shared": False}, False),
        ({"kind": "line", "codebook": {"kind": "grouped"}}, False),
        ({"kind": "residual", "codebook": {"kind": "vq"}}, False),
        (None, False),
    ],
)
def test_which_models_have_one_codebook(quantizer: Any, expected: bool) -> None:
    assert shares_codebook({"quantizer": quantizer}) is expected


@pytest.mark.parametrize(("media", "dtype"), [(65_499 - 7, "<u2"), (65_500 - 7, "<i4"), (65_536, "<i4")])
def test_ids_are_two_bytes_below_65500(media: int, dtype: str) -> None:
    found = build([("image", layout(Stage("grid", (("row", 1), ("col", 1)), media)))])
    assert found.dtype == np.dtype(dtype)


def test_a_vocabulary_comes_back_from_json() -> None:
    found = build([("image", PICTURE), ("audio", SOUND)], shared=["audio"])
    assert Vocabulary.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "change",
    [
        {"total": 3},
        {"dtype": "int32"},
        {"ranges": []},
        {"ranges": None},
        {"ranges": [{"name": "pad"}]},
    ],
)
def test_damaged_vocabularies_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BitstreamError, match="not a vocabulary"):
        Vocabulary.from_json(build([("image", PICTURE)]).to_json() | change)


def test_a_range_that_leaves_a_gap_is_refused() -> None:
    said = build([("image", PICTURE)]).to_json()
    said["ranges"][-1]["base"] += 1
    said["total"] += 1
    with pytest.raises(BitstreamError, match="expected them from 15 on"):
        Vocabulary.from_json(said)


def test_what_a_vocabulary_lacks_is_named() -> None:
    found = build([("image", PICTURE)])
    with pytest.raises(UsageError, match="no special id 'begin-audio'"):
        found.special("begin-audio")
    with pytest.raises(UsageError, match=r"no 9 ids for stage 'level1' of image; it has image.level0 \(8\)"):
        found.of_stage("image", "level1", 9)


def test_tables_of_long_documents_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.prepare.packs import weaving

    monkeypatch.setattr(weaving, "KEPT_PLACES", 1000)
    sounds = [layout(Stage("level0", (("time", 300 + i),), 8)) for i in range(9)]
    weaver = Weaver(build([("audio", sound) for sound in sounds]), "flatten")
    for sound in sounds:
        assert weaver.weave("audio", sound).layout == sound
        assert sum(weave.length for weave in weaver._kept.values()) <= 1000
    assert len(weaver._kept) == 3
    long = layout(Stage("level0", (("time", 2000),), 8))
    assert Weaver(build([("audio", long)]), "flatten").weave("audio", long).layout == long
