"""Networks of the `transformers` package: made from a checkpoint's own configuration, filled with its tensors, or refused in one line.

Weights never go through its loading of files: what is read is read by `checkpoints.py`, and what does not fit exactly is refused, where
the package would start with random numbers. What it does do is to bring the names of older releases to today's.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError

EXTRA = "pip install 'smalti[peers]'"
BOOKKEEPING = {  # of a config, not of a network; an attention's implementation may name code on the hub, which would be fetched and run
    "_attn_implementation", "_attn_implementation_internal", "_experts_implementation", "_experts_implementation_internal",
    "_name_or_path", "architectures", "attn_implementation", "auto_map", "dtype", "experts_implementation", "torch_dtype",
    "transformers_version", "use_kernels",
}  # fmt: skip
MOST_PARTS = 1024  # layers, blocks or books, and numbers of a list: a network takes time for each, even while it has no weights
SPARE = 2**22  # weights that a network may have more than its checkpoint: tied ones, and tables that are computed


def imported(package: str, needed_for: str) -> Any:
    """A package of the extra `peers`; ModelError says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelError(f"{needed_for} needs the package {package} ({error}); install it by {EXTRA}") from None


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what does not shape the network, so that it and its fingerprint stay the same however it was saved."""
    return {
        key: plain_settings(value) if isinstance(value, Mapping) else value for key, value in settings.items() if key not in BOOKKEEPING
    }


def _check_counts(settings: Mapping[str, Any], family: str) -> None:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            _check_counts(value, family)
        many = len(value) if isinstance(value, list | tuple) else value if re.search("layers|blocks|quantizers|codebooks", key) else 0
        if isinstance(many, int | float) and many > MOST_PARTS:
            raise ModelError(f"{family}: its config has {key} of {many}, expected {MOST_PARTS} at most")


def config_of(class_name: str, settings: Mapping[str, Any], family: str) -> Any:
    """The package's own config object; ModelError says what it does not accept."""
    transformers = imported("transformers", f"a model of family {family}")
    config_class = getattr(transformers, class_name, None)
    if config_class is None:
        raise ModelError(f"the installed transformers {transformers.__version__} has no {class_name}; install a newer one by {EXTRA}")
    _check_counts(settings, family)
    try:
        with quiet():
            return config_class.from_dict(dict(plain_settings(settings)))
    except Exception as error:  # its checks raise kinds of their own
        raise ModelError(f"a config that {class_name} refuses: {' '.join(str(error).split())[:200]}") from None


def network_of(class_name: str, config: Any, tensors: Mapping[str, np.ndarray], name: str) -> Any:
    """The network in float32 with exactly these tensors; ModelError names the first that is missing, unknown or of another shape."""
    import torch

    transformers = imported("transformers", name)
    network_class = getattr(transformers, class_name)
    try:
        with torch.device("meta"):  # shapes only: a config must not make us allocate what its weights do not fill
            wanted = sum(tensor.numel() for tensor in network_class(config).state_dict().values())
    except Exception as error:
        raise ModelError(f"{name}: {class_name} cannot be made of this config: {' '.join(str(error).split())[:200]}") from None
    held = sum(tensor.size for tensor in tensors.values())
    if wanted > held + SPARE:
        raise ModelError(f"{name}: its config asks for {wanted} weights, the checkpoint holds {held}; they do not belong together")
    state = {key: torch.from_numpy(np.array(tensor, order="C")) for key, tensor in tensors.items()}  # what is read may be read-only
    with quiet():
        try:
            net, report = network_class.from_pretrained(
                None, config=config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32
            )
        except Exception as error:
            raise ModelError(f"{name}: {class_name} cannot be filled: {' '.join(str(error).split())[:200]}") from None
    _check(report, name)
    return net.float().eval().requires_grad_(False)


def _check(report: Mapping[str, Any], name: str) -> None:
    for key, shape, expected in sorted(report["mismatched_keys"]):
        raise ModelError(f"{name}: tensor {key!r} has shape {tuple(shape)}, expected {tuple(expected)}")
    for state, problem in (("missing", "missing_keys"), ("unknown to this config", "unexpected_keys")):
        for key in sorted(report[problem]):
            raise ModelError(f"{name}: tensor {key!r} is {state}; config and weights do not belong together")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The package's bars and warnings off for the time being: what matters of them is said by our errors."""
    from transformers.utils import logging as said

    bars, level = said.is_progress_bar_enabled(), said.get_verbosity()
    said.disable_progress_bar()
    said.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()
