"""Distances between two sets of pictures, in the feature space of the network of `metrics.classifier`.

Frechet distance: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium" (arXiv 1706.08500),
between Gaussians of the same mean and covariance as the features. Kernel distance: Binkowski et al., "Demystifying MMD GANs"
(arXiv 1801.01401), the unbiased squared maximum mean discrepancy under the kernel (x.y / D + 1)^3.

Both differ from FID and KID by the network (not Inception-v3), so they carry other names and compare only with themselves. The kernel
distance is over all pairs rather than over random subsets, hence without a spread. Frechet distance depends on the number of pictures:
compare equal numbers. Where the sets are pairs, as originals and their decoded pictures are, its bias is nearly the same on both sides,
while the kernel distance can be slightly negative: for equal sets it is what `ceiling` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from smalti.metrics import classifier
from smalti.metrics.classifier import Classifier
from smalti.metrics.pairs import check_sets
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.signals import Signal


class FrechetDistance:
    """Frechet distance of features; 0 for equal sets."""

    name = "frechet-distance"

    def __init__(self, network: Classifier) -> None:
        self.network = network

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        check_sets(references, decoded, least=2)
        value = frechet_distance(self.network(references).features, self.network(decoded).features)
        return Score(value, "", "lower", f"features of {classifier.NAME}; {len(references)} pictures; no FID")

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


class KernelDistance:
    """Squared maximum mean discrepancy of features, unbiased; about 0 for equal sets, below it by what pairs share."""

    name = "kernel-distance"

    def __init__(self, network: Classifier) -> None:
        self.network = network

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        check_sets(references, decoded, least=2)
        value = kernel_distance(self.network(references).features, self.network(decoded).features)
        meaning = f"features of {classifier.NAME}; cubic kernel, all pairs of {len(references)} pictures; no KID"
        return Score(value, "", "lower", meaning)

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


def frechet(device: str = "cpu") -> FrechetDistance:
    """Frechet distance by the ImageNet classifier."""
    return FrechetDistance(classifier.load(device))


def kernel(device: str = "cpu") -> KernelDistance:
    """Kernel distance by the ImageNet classifier."""
    return KernelDistance(classifier.load(device))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features float64 (N, D) and (M, D), N and M at least 2."""
    shift = a.mean(0) - b.mean(0)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    # the roots of the eigenvalues of S_a S_b are the singular values of R_a R_b': no root of a matrix, which is inexact where there are
    # fewer pictures than features
    overlap = np.linalg.norm(root_a @ root_b.T, ord="nuc")
    value = np.square(shift).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2 * overlap
    return max(0.0, float(value))  # rounding


def _covariance_root(x: np.ndarray) -> np.ndarray:
    """R with R' R the unbiased covariance of the rows of x (N, D); it has min(N, D) rows."""
    root: np.ndarray = np.linalg.qr((x - x.mean(0)) / math.sqrt(len(x) - 1), mode="r")  # type: ignore[assignment]
    return root


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased squared discrepancy of features float64 (N, D) and (M, D), N and M at least 2."""

    def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: np.ndarray) -> float:
        values = cubic(x, x)
        return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))

    return among(a) + among(b) - 2 * float(cubic(a, b).mean())
