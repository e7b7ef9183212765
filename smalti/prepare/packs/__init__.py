"""Packs: the codes of a prepared folder as a stream of ids for language models, in the files that trainers read.

pack = write_pack(open_codes("OUT"), PackOptions("lm", pattern="flatten", context=1024, packing="best-fit", format="megatron"))
"""

from __future__ import annotations

from smalti.prepare.packs.pack import Pack, PackOptions, open_manifest, verify
from smalti.prepare.packs.writing import vocabulary_of, write_pack, write_packs

__all__ = ["Pack", "PackOptions", "open_manifest", "verify", "vocabulary_of", "write_pack", "write_packs"]
