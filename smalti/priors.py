"""Which prior a name, or what a stream says, means for a model."""

from __future__ import annotations

import os
from pathlib import Path

from smalti.codecs.bitstream import OWN_PRIOR, StreamInfo
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.zoo import ModelInfo


def prior_of(info: ModelInfo, prior: str = "", device: str = "cpu") -> Prior:
    """A prior by name: "" is the model's own (its default one, or uniform where it has none); or as `prior_named`."""
    from smalti.codecs.priors import stored
    from smalti.codecs.priors.uniform import UniformPrior

    if prior:
        return prior_named(prior, info, device)
    return stored.load_default(info.folder / stored.DEFAULT, info.prior) if info.prior else UniformPrior()


def prior_named(name: str, made_by: ModelInfo | None, device: str = "cpu") -> Prior:
    """The prior "uniform", "adaptive" (unprimed), "masked" or "static" (those beside the model), or that of a file; raises UsageError,
    ModelError.

    device: where a masked prior's network runs; its files are the same everywhere.
    """
    from smalti.codecs.priors import stored
    from smalti.codecs.priors.adaptive import AdaptivePrior
    from smalti.codecs.priors.uniform import UniformPrior

    if name == "uniform":
        return UniformPrior()
    if name == "adaptive":
        return AdaptivePrior()
    if name == "masked":
        return _masked(made_by, device)
    if name == "static":
        return _static(made_by)
    if not Path(name).is_file():
        raise UsageError(
            f"no prior {name!r}; give 'uniform', 'adaptive', 'static', 'masked' or a file of a prior, or leave it out for the model's own"
        )
    return stored.load(name, device)


def _masked(made_by: ModelInfo | None, device: str) -> Prior:
    from smalti.codecs.priors import stored
    from smalti.codecs.priors.masked import MaskedPrior

    if made_by is None:
        raise UsageError("raw tokens, made by no model, have no masked prior beside it; name the file of one")
    if not brings_masked(made_by):
        raise UsageError(
            f"{made_by.name} brings no masked prior; train one: python -m smalti.recipes.train_prior {made_by.name} PICTURES -o FILE, "
            "and give that file"
        )
    return MaskedPrior.load(made_by.beside(stored.MASKED), device)


def brings_masked(info: ModelInfo) -> bool:
    """Whether a masked prior lies beside the model."""
    from smalti.codecs.priors import stored

    return info.beside(stored.MASKED).is_file()


def _static(made_by: ModelInfo | None) -> Prior:
    """The tables that `smalti fit-prior` put beside a model; where there are none its own, if those are static."""
    from smalti.codecs.priors import stored
    from smalti.codecs.priors.static import StaticPrior

    if made_by is None:
        raise UsageError("raw tokens, made by no model, have no prior of their own; name 'uniform', 'adaptive' or a file of tables")
    beside = made_by.beside(stored.STATIC)
    if beside.is_file():
        return StaticPrior.load(beside)
    own = prior_of(made_by)
    if not isinstance(own, StaticPrior):
        raise UsageError(
            f"{made_by.name} brings no static tables; fit some by smalti fit-prior {made_by.name} DATA, name a file of them, 'uniform' or "
            "'adaptive', or leave it out for the model's own"
        )
    return own


def prior_for(info: StreamInfo, made_by: ModelInfo | None, prior: str | os.PathLike[str] = "", device: str = "cpu") -> Prior:
    """The prior that a stream was coded with, found by its id: uniform, unprimed, the model's own, the masked one beside the model; or
    that which `prior` names. ModelError where it is another.
    """
    from smalti.codecs.priors import stored
    from smalti.codecs.priors.adaptive import UNPRIMED, AdaptivePrior
    from smalti.codecs.priors.uniform import UniformPrior

    if name := os.fspath(prior):
        return _given(info, made_by, name, device)
    if info.prior_id == UNPRIMED:
        return AdaptivePrior()
    if info.prior_id == UniformPrior.id or made_by is None:
        return UniformPrior()
    own = prior_of(made_by)
    if info.prior_id in (OWN_PRIOR, own.id):
        return own
    if brings_masked(made_by):
        masked = _masked(made_by, device)
        if info.prior_id == masked.id:
            return masked
    if made_by.beside(stored.STATIC).is_file():
        static = _static(made_by)
        if info.prior_id == static.id:
            return static
    raise ModelError(
        f"coded with prior {info.prior_id.hex()}, which {made_by.name} does not bring; it was made elsewhere: name its file as the prior"
    )


def _given(info: StreamInfo, made_by: ModelInfo | None, name: str, device: str) -> Prior:
    own = prior_of(made_by).id if made_by is not None and info.prior_id == OWN_PRIOR else info.prior_id
    given = prior_named(name, made_by, device)
    if given.id != own:
        raise ModelError(f"coded with prior {own.hex()}, but {name} is {given.id.hex()}; leave it out where the model's own will do")
    return given


def wanted_prior(made_by: ModelInfo | None, name: str) -> Prior:
    """What transcode codes with: "" is the model's own, the others as `prior_named`."""
    if name:
        return prior_named(name, made_by)
    if made_by is None:
        raise UsageError("raw tokens, made by no model, have no prior of their own; name 'uniform', 'adaptive' or a file of tables")
    return prior_of(made_by)
