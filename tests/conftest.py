"""What every tier shares: where the real inputs lie, and one thread per worker."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SMALTI_DATA", ROOT.parent / "shared")) / "data"

# the judges lie with the other real inputs unless somebody says otherwise; inherited by what tests start
if (DATA / "nets").is_dir():
    os.environ.setdefault("SMALTI_JUDGES", str(DATA / "nets"))
    os.environ.setdefault("SMALTI_LYRA", str(DATA / "nets" / "lyra"))

# Workers share the machine's cores: with several threads each they wait for one another. Set before torch or numba is imported,
# and inherited by what tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# the same examples in every run, and no verdicts by the clock
hypothesis.settings.register_profile("smalti", derandomize=True, deadline=None)
hypothesis.settings.load_profile("smalti")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real inputs, `data` in $SMALTI_DATA (default: `shared` beside the checkout); skips where it is absent."""
    if not (DATA / "images").is_dir():
        pytest.skip(f"needs real inputs: {DATA / 'images'} is no folder; set SMALTI_DATA to the folder that holds data/images")
    return DATA
