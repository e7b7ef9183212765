"""Archives that nobody wrote: every checksum fits and the structure lies. What is claimed has a bound; no item is taken for another."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest

from smalti.codecs.bitstream import Archive, Item, StreamInfo, Whole, inspect, recover, write, write_archive
from smalti.codecs.bitstream.archive import HEADER, Place, end_chunk, read_index, write_file
from smalti.codecs.bitstream.items import read_set, write_item, write_items
from smalti.codecs.bitstream.wire import FILE, ITEMS, chunk, crc, read_chunk
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM = UniformPrior()
LAYOUT = Layout((Stage("s", (("row", 2), ("col", 2)), 1024),), (1,), (("height", 32), ("width", 32)))
INFO = StreamInfo("image", b"model!", UNIFORM.id, 1, LAYOUT.signal)
SHARD = [Tokens(LAYOUT, (np.full((2, 2), 100 + i, np.int32),)) for i in range(6)]
DATA = write_archive([Item(tokens, UNIFORM, INFO) for tokens in SHARD])
START = DATA[: Archive(DATA).places[0].start]  # header and set
SEED = int.from_bytes(START[-4:], "little")  # the CRC of the first chunk
COMMON = Archive(DATA).sets[0]
BODIES = [write_item(COMMON, INFO, "", tokens.digest(), UNIFORM.encode(tokens)) for tokens in SHARD]
SOLO = [write(tokens, UNIFORM, INFO) for tokens in SHARD]


def items(first: int, bodies: Sequence[bytes]) -> bytes:
    return chunk(ITEMS, write_items(0, COMMON, first, bodies), SEED)


def file(number: int, data: bytes, key: str = "") -> bytes:
    return chunk(FILE, write_file(number, key, data, SEED), SEED)


def archive(*chunks: tuple[bytes, int]) -> bytes:
    """Chunks, each with the number of items that the index has for it."""
    places, out = [], START
    for made, count in chunks:
        places.append((len(out), count))
        out += made
    return out + end_chunk(places, SEED)


def indexed(*places: tuple[int, int]) -> bytes:
    """The shard with another index."""
    return DATA[: Archive(DATA).places[0].start + len(items(0, BODIES))] + end_chunk(places, SEED)


def refusal(data: bytes, number: int) -> str:
    """Why an item is refused."""
    with pytest.raises(BitstreamError) as caught:
        Archive(data)[number]
    assert inspect(data).status != "whole"
    return str(caught.value)


def test_the_forger_writes_what_the_writer_does() -> None:
    assert archive((items(0, BODIES), 6)) == DATA == indexed((len(START), 6))
    data = archive((file(0, SOLO[0]), 1), (items(1, BODIES[1:]), 5))
    assert [found.tokens(LAYOUT, UNIFORM) for found in Archive(data)] == SHARD
    assert inspect(data).status == "whole"


def test_a_number_that_the_file_cannot_reach() -> None:
    """53 bytes once had 16.7 million items."""
    data = START + items(2**24 - 2, BODIES[:1])
    found, _ = recover(data)
    assert len(found) == 0
    assert any("item 16777214 in an archive of" in problem for problem in found.problems)
    assert inspect(data).status == "refused"


def test_a_gap_is_one_line_and_costs_no_walk() -> None:
    data = START + items(60, BODIES)
    found, _ = recover(data)
    assert found.problems[0] == "items 0..59 are missing"
    assert list(found.numbers) == [60, 61, 62, 63, 64, 65]
    assert found[62].tokens(LAYOUT, UNIFORM) == SHARD[2]
    assert inspect(data).problems[-1] == "60 of 66 items are damaged or missing"


def test_an_index_claims_no_more_than_its_file_holds() -> None:
    """Places that lie one in the other once made 16.7 million items of 328 kilobytes."""
    filler = chunk(0x89, bytes(2000), SEED)
    data = START + filler + items(0, BODIES)
    for places in ([(len(START) + i, 256) for i in range(1000)], [(len(START), 256), (len(START) + 900, 1)], [(len(data) - 8, 1)]):
        with pytest.raises(BitstreamError, match="index does not fit"):
            Archive(data + end_chunk(places, SEED))
    assert len(Archive(data + end_chunk([(len(START), 256), (len(START) + 1034, 1)], SEED))) == 257  # 10 + 4 * 256: all there is to say


@pytest.mark.parametrize("places", [[(0, 6)], [(6, 6)], [(len(START) - 1, 6)], [(len(DATA), 6)], [(len(START), 3), (len(START), 3)]])
def test_places_out_of_order_or_out_of_the_file(places: list[tuple[int, int]]) -> None:
    with pytest.raises(BitstreamError, match="index does not fit"):
        Archive(indexed(*places))


def test_a_head_unlike_the_index() -> None:
    assert "the index has items 0.." in refusal(indexed((len(START), 5)), 0)
    assert "the index has items 0.." in refusal(archive((items(1, BODIES[1:]), 5)), 0)


def test_a_file_that_becomes_shorter_while_it_is_read() -> None:
    source = io.BytesIO(DATA)
    found = Archive(source)
    source.truncate(len(START) + 4)
    with pytest.raises(BitstreamError, match="has become shorter"):
        found[3]


def test_a_place_of_another_kind_of_chunk() -> None:
    for kind, told in ((9, "found a chunk of type 0x09"), (0x89, "found a chunk of type 0x89")):
        assert told in refusal(archive((chunk(kind, bytes(60), SEED), 1), (items(1, BODIES[1:]), 5)), 0)


def test_an_item_is_not_taken_for_another() -> None:
    assert len({len(body) for body in BODIES}) == 1
    start = DATA.index(BODIES[1])
    one, two = DATA[start : start + len(BODIES[0]) + 2], DATA[start + len(BODIES[0]) + 2 :][: len(BODIES[0]) + 2]
    payload = read_chunk(DATA, len(START), SEED).payload
    swapped = payload.replace(one + two, two + one)
    assert swapped != payload
    data = archive((chunk(ITEMS, swapped, SEED), 6))
    for number in (1, 2):
        assert f"item {number}: damaged" in refusal(data, number)
    assert Archive(data)[3].tokens(LAYOUT, UNIFORM) == SHARD[3]


def test_a_file_is_not_taken_for_another() -> None:
    data = archive((file(1, SOLO[1]), 1), (file(0, SOLO[0]), 1))
    for number in (0, 1):
        assert f"item {number}: the index has it where it is not" in refusal(data, number)
    assert "item 0 comes again" in recover(data)[0].problems[1]
    wrong = bytearray(archive((file(1, SOLO[1]), 1)))
    wrong[len(START) + len(file(1, SOLO[1])) - 1] ^= 1  # its CRC-32: now only what is left of it may be read
    with pytest.raises(BitstreamError, match="the index has it where it is not"):
        Archive(bytes(wrong)).salvaged(0)


def test_the_key_of_a_file_is_checked_by_itself() -> None:
    data = archive((file(0, SOLO[0], "cat.png"), 1), (file(1, SOLO[1], "dog.png"), 1))
    place = data.index(b"cat.png")
    wrong = data[:place] + b"rat" + data[place + 3 :]
    key, left = Archive(wrong).salvaged(0)
    assert (key, left.problems) == ("", ("its name in the archive is damaged",))
    assert left.tokens(LAYOUT, UNIFORM) == SHARD[0]
    again, _ = recover(wrong)
    assert [again.salvaged(i)[0] for i in (0, 1)] == ["", "dog.png"]
    place = len(START) + len(file(0, SOLO[0], "cat.png")) - 1
    wrong = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    key, left = Archive(wrong).salvaged(0)
    assert (key, left.problems) == ("cat.png", ("a checksum around it is damaged, its own are right",))


def test_a_damaged_file_takes_nobodys_place() -> None:
    """Without the index, a damaged FILE chunk counts where its number is the next one and a chunk follows its end."""
    files = [file(i, SOLO[i]) for i in range(3)]
    flipped = [made[:-1] + bytes([made[-1] ^ 1]) for made in files]
    found, _ = recover(START + files[0] + flipped[1] + files[2])
    assert list(found.numbers) == [0, 1, 2]
    high = file(2, SOLO[1])
    found, _ = recover(START + files[0] + high[:-1] + bytes([high[-1] ^ 1]) + files[2])
    assert list(found.numbers) == [0, 2]
    assert found[2].tokens(LAYOUT, UNIFORM) == SHARD[2]
    longer = files[1][:1] + bytes([files[1][1] + 3]) + files[1][2:]
    found, _ = recover(START + files[0] + longer + files[2])
    assert list(found.numbers) == [0, 2]


def test_more_chunks_than_a_reader_takes_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.codecs.bitstream.archive.MAX_CHUNKS", 300)  # a million takes half a minute
    places = [(100 + 14 * i, 1) for i in range(300)]
    end = end_chunk(places, 5)
    size = places[-1][0] + 14 + len(end)

    def read(start: int, count: int) -> bytes:
        return end[start - size + len(end) :][:count]

    assert read_index(read, size, 5, 100)[-1] == Place(places[-1][0], 299, 1)
    with pytest.raises(UsageError, match="at most 300; write several"):
        end_chunk([*places, (places[-1][0] + 14, 1)], 5)


def test_chunks_of_all_kinds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.codecs.bitstream.archive_writer.MAX_CHUNKS", 5)
    whole = [Whole(data) for data in SOLO[:1]] + [Whole(write(SHARD[1], UNIFORM, INFO, "chunked"))] * 2
    assert len(Archive(write_archive(whole, [(0x89, b"?")]))) == 3  # with END five
    with pytest.raises(UsageError, match="5 chunks"):
        write_archive(whole, [(0x89, b"?")] * 2)


def test_a_set_bounds_the_stages_of_its_items() -> None:
    two = Layout((*LAYOUT.stages, Stage("t", (("row", 2), ("col", 2)), 1024)), (1, 2), LAYOUT.signal)
    tokens = Tokens(two, (SHARD[0].arrays[0], SHARD[1].arrays[0]))
    data = write_archive([Item(tokens, UNIFORM, INFO), Item(tokens.prefix(1), UNIFORM, INFO)])
    common = Archive(data).sets[0]
    assert (common.own_stages, common.info.stages) == (True, 2)
    start = data[: Archive(data).places[0].start]
    assert read_set(read_chunk(start, len(HEADER), crc(HEADER)).payload, common.seed) == common
    body = b"\2" + BODIES[0]  # three stages
    made = start + chunk(ITEMS, write_items(0, common, 0, [body]), common.seed)
    with pytest.raises(BitstreamError, match="at most 1 is known"):
        Archive(made + end_chunk([(len(start), 1)], common.seed))[0]
