"""A real photo that every installation has: one of scikit-learn's samples."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from smalti.tokenizers.errors import SignalError

PHOTO = "china.jpg"  # 640 x 427; photo by danielbuechele, CC BY 2.0


def sample_photo() -> Path:
    """The photo of a temple, found without importing scikit-learn; SignalError where it is missing."""
    spec = find_spec("sklearn")
    for root in (spec.submodule_search_locations if spec else None) or []:
        path = Path(root) / "datasets" / "images" / PHOTO
        if path.is_file():
            return path
    raise SignalError(f"{PHOTO}: scikit-learn's sample photos are missing; pip install scikit-learn, or name a photo of your own")
