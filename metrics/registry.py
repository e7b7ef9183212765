"""Metrics by name: "module:factory"; other distributions add theirs by entry points `smalti.metrics`.

A factory is called without arguments, or with `device` ("cpu", "cuda") where it has a parameter of that name.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from importlib.metadata import entry_points

from smalti.tokenizers.contracts import Metric
from smalti.tokenizers.errors import ModelError, UsageError

METRICS = {
    "psnr": "smalti.metrics.image:PSNR",
    "lpips-alex": "smalti.metrics.image:lpips_alex",
    "lpips-vgg": "smalti.metrics.image:lpips_vgg",
}


def known() -> dict[str, str]:
    """Ours and those of other distributions; a name of ours stays ours."""
    return {point.name: point.value for point in entry_points(group="smalti.metrics")} | METRICS


def resolve(name: str, device: str = "cpu") -> Metric:
    """The metric of a name; UsageError where nobody knows it, ModelError where it or its network is not at hand."""
    metrics = known()
    if name not in metrics:
        near = difflib.get_close_matches(name, metrics, 1)
        raise UsageError(f"no metric {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(metrics)}"))
    module, _, attribute = metrics[name].partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"metric {name!r} cannot be imported from {metrics[name]}: {error}; install what it needs") from None
    return factory(device=device) if "device" in inspect.signature(factory).parameters else factory()
