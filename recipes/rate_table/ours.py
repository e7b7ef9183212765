"""Our own files of a picture, one per decodable prefix, judged by the same metrics and kept in the same ledger."""

from __future__ import annotations

from smalti.codecs.neural import NeuralCodec
from smalti.recipes.rate_table.ledger import Entry, Key, Ledger
from smalti.recipes.rate_table.rivals import Judges, digest
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.signals import Image


def files(codec: NeuralCodec, picture: Image, judges: Judges, ledger: Ledger) -> dict[int, Entry]:
    """Entries by number of stages."""
    size = (("height", picture.height), ("width", picture.width))
    name = f"{codec.name} {codec.tokenizer.fingerprint[:12]} {codec.prior.id.hex()} {codec.tone_passes}"
    keys = {cut: Key(digest(picture), name, cut) for cut in codec.tokenizer.layout(size).cuts}
    known = {cut: ledger.get(key) for cut, key in keys.items()}
    found = {cut: entry for cut, entry in known.items() if entry is not None and entry.scores.keys() >= judges.metrics.keys()}
    if len(found) == len(keys):
        return found
    for cut, key in keys.items():
        data = codec.compress(picture, Target(stages=cut))
        decoded = codec.decompress(data)
        scores = {metric: judges.score(metric, picture, decoded) for metric in judges.metrics}
        found[cut] = ledger.put(key, Entry(len(data), scores))
    return found
