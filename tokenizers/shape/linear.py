"""A linear basis of what primitives miss of distance fields: principal components of cosine coefficients, in 8 bits.

A field on a cubic grid is taken apart by the cosine transform (DCT-II); of its coefficients those that vary most are kept. A coefficient
of even order is even in that axis, one of odd order odd: taken over shapes and their mirror images (x and z), coefficients of different
parity are uncorrelated, so there are four families of components, each of a quarter of the coefficients: four times as many fit the same
bytes, and a symmetric shape has zeros in three families. Cosines are smooth, so a field is drawn on a grid of any fineness.

Source: principal components of distance fields as a code are those of Leventon et al. (CVPR 2000); parity and cosines are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.shape.field import REACH

Array = np.ndarray
FAMILIES = 4
# classes of shapes by how many primitives stand for them already: from these counts on
CLASSES = (0, 1, 3, 6, 11)


def class_of(count: int) -> int:
    """The class of a number of primitives."""
    return sum(count >= least for least in CLASSES) - 1


def family_of(orders: Array) -> Array:
    """The parity family of cosine orders (M, 3): that of x, and twice that of z."""
    return orders[:, 0] % 2 + 2 * (orders[:, 2] % 2)


def cosines(field: Array, order: int) -> Array:
    """Coefficients below `order` of a field (n, n, n), with the same size whatever n is: float64 (order, order, order)."""
    from scipy.fft import dctn

    return dctn(field.astype(np.float64), norm="ortho")[:order, :order, :order] / len(field) ** 1.5


@dataclass(frozen=True)
class LinearBasis:
    """Components, sorted by what they carry.

    orders: int16 (M, 3), cosine orders. mean: (classes, M), what is missing on average. gain: (classes, M): the part of a primitive's
    own coefficients to be added. families: uint8 (C,), of each component. rows: int8 (C_f, M_f) for each family. scales: float32 (C,),
    of rows. deviations: float32 (C,), of coefficients over all training shapes.
    """

    orders: Array
    mean: Array
    gain: Array
    families: Array
    rows: tuple[Array, ...]
    scales: Array
    deviations: Array

    @property
    def order(self) -> int:
        """Above all cosine orders."""
        return int(self.orders.max()) + 1

    @property
    def count(self) -> int:
        return len(self.scales)

    def coefficients(self, whole: Array, known: Array, kind: int) -> Array:
        """Of a shape: from the cosines of its field and of its primitives' field, as `cosines` gives them: float64 (C,)."""
        missing = self._picked(whole) - self._expected(self._picked(known), kind)
        out, own = np.empty(self.count), family_of(self.orders)
        for family, rows in enumerate(self.rows):
            at = self.families == family
            out[at] = (rows @ missing[own == family]) * self.scales[at]
        return out

    def field(self, coefficients: Array, known: Array, kind: int, axes: Sequence[Array]) -> Array:
        """What is to be added to the primitives' field, on a grid of these coordinates: float32. coefficients: float (n,), the first n;
        known: cosines of the primitives' field."""
        picked = self._picked(known)
        spectrum, own = self._expected(picked, kind) - picked, family_of(self.orders)
        full = np.zeros(self.count)
        full[: len(coefficients)] = coefficients
        for family, rows in enumerate(self.rows):
            at = self.families == family
            spectrum[own == family] += (full[at] * self.scales[at]) @ rows
        cube = np.zeros((self.order,) * 3, np.float32)
        cube[tuple(self.orders.T)] = spectrum
        for axis in axes:  # the first axis is summed and comes out last, three times
            cube = np.tensordot(cube, _waves(axis, self.order), (0, 1))
        return cube

    def _picked(self, cube: Array) -> Array:
        return cube[tuple(self.orders.T)].astype(np.float64)

    def _expected(self, known: Array, kind: int) -> Array:
        return known * self.gain[kind] + self.mean[kind]

    def tensors(self) -> dict[str, Array]:
        named = {f"rows{family}": rows for family, rows in enumerate(self.rows)}
        return named | {name: getattr(self, name) for name in ("orders", "mean", "gain", "families", "scales", "deviations")}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Any], name: str) -> LinearBasis:
        """ModelError names the first tensor that is missing or does not fit."""
        kinds = {"orders": "i", "mean": "f", "gain": "f", "families": "u", "scales": "f", "deviations": "f"}
        kinds |= {f"rows{family}": "i" for family in range(FAMILIES)}
        for key, kind in kinds.items():
            if key not in tensors or tensors[key].dtype.kind != kind:
                raise ModelError(f"{name}: tensor {key} is missing or no {'float' if kind == 'f' else 'integer'} tensor")
        if unknown := sorted(set(tensors) - set(kinds)):
            raise ModelError(f"{name}: unknown tensor {unknown[0]}")
        orders, families = tensors["orders"].astype(np.int64), tensors["families"]
        if orders.ndim != 2 or orders.shape[1] != 3 or not len(orders) or orders.min() < 0 or orders.max() >= 128:
            raise ModelError(f"{name}: tensor orders holds cosine orders 0..127 (M, 3), found {orders.shape}")
        own = family_of(orders)
        shapes = {"mean": (len(CLASSES), len(orders)), "gain": (len(CLASSES), len(orders)), "families": families.shape[:1]}
        shapes |= {"scales": families.shape, "deviations": families.shape}
        shapes |= {f"rows{f}": (int((families == f).sum()), int((own == f).sum())) for f in range(FAMILIES)}
        for key, shape in shapes.items():
            if tensors[key].shape != shape:
                raise ModelError(f"{name}: tensor {key} has shape {tensors[key].shape}, expected {shape}")
        if families.max(initial=0) >= FAMILIES:
            raise ModelError(f"{name}: tensor families names a family outside 0..{FAMILIES - 1}")
        floats = (np.asarray(tensors[key], np.float64) for key in ("mean", "gain"))
        rows = tuple(np.asarray(tensors[f"rows{f}"], np.float32) for f in range(FAMILIES))
        mean, gain = floats
        return LinearBasis(
            orders, mean, gain, families, rows, tensors["scales"].astype(np.float64), tensors["deviations"].astype(np.float64)
        )


def _waves(axis: Array, order: int) -> Array:
    """Cosines of orders below `order` at coordinates in [-REACH, REACH]: float32 (n, order); those of `cosines`, divided by root n."""
    phase = (axis / REACH + 1) / 2
    waves = np.cos(np.pi * phase[:, None] * np.arange(order)) * np.sqrt(2)
    waves[:, 0] = 1
    return waves.astype(np.float32)
