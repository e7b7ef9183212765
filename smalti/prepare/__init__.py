"""Media as token shards that trainers read: a frozen plan, units of work, codes with their shapes, and how to get back.

OUT/plan.json           what is done, and by which models; never changes
OUT/inputs.jsonl        every item, in order, a JSON object a line; inputs.index: where each line begins, inputs.keys: items by hash of key
OUT/codes/unit-N.codes  tokens of a slice of the items; unit-N.docs: which are whose; unit-N.json: the commit, written last
OUT/dataset.json        the manifest, written when everything adds up
OUT/packs/NAME/         streams for language models, made of the codes

smalti.prepare.prepare("photos", "OUT", ["image-grid-16"])
codes = smalti.prepare.open_codes("OUT")
document = codes.document(0)            # .key, .tokens
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.prepare.codes import Codes, Document, open_codes
    from smalti.prepare.run import Listener, Options, Prepared, prepare
    from smalti.prepare.verifying import Verdict, verify

__all__ = ["Codes", "Document", "Listener", "Options", "Prepared", "Verdict", "open_codes", "prepare", "verify"]
_HOMES = {
    **dict.fromkeys(("Codes", "Document", "open_codes"), "smalti.prepare.codes"),
    **dict.fromkeys(("Listener", "Options", "Prepared", "prepare"), "smalti.prepare.run"),
    **dict.fromkeys(("Verdict", "verify"), "smalti.prepare.verifying"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'smalti.prepare' has no attribute {name!r}")
