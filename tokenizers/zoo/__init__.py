"""The zoo: names -> models. A model is a folder of config.json, model.safetensors and card.md, shipped here or anywhere on disk.

Shipped models lie in zoo/NAME/NUMBER/ and are immutable once released: `NAME` is the newest, `NAME@NUMBER` that very one. Nothing in a
model folder is code.
"""

from smalti.tokenizers.zoo.folder import PUBLIC, ModelInfo, by_fingerprint, find, fingerprint_of, known, load, load_model, problems, save

__all__ = ["PUBLIC", "ModelInfo", "by_fingerprint", "find", "fingerprint_of", "known", "load", "load_model", "problems", "save"]
