"""Public networks of pictures: their tokens and pictures are their libraries' own, and checkpoints are what their names and shapes say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import smalti
from smalti import api
from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers import magvit2, naming, vqgan
from smalti.tokenizers.signals import Image

LIBRARY = ("janus", "emu3", "chameleon")
FILES = ("taming", "llamagen", "ibq", "open-magvit2")
PUBLISHED = Path(__file__).parent / "published"
Made = Callable[[str], tuple[Any, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """(the network that was saved, the name of its checkpoint) of a family."""
    kept: dict[str, tuple[Any, str]] = {}

    def make(family: str) -> tuple[Any, str]:
        for package in tiny_peers.PACKAGES[family]:
            pytest.importorskip(package)
        if family not in kept:
            folder = tmp_path_factory.mktemp(family)
            network = tiny_peers.made(family, folder)
            kept[family] = network, f"file:{folder / tiny_peers.FILE}" if family in FILES else f"hf:{folder}"
        return kept[family]

    return make


def picture(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def seen(image: Image) -> torch.Tensor:
    """(1, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(image.pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.parametrize("family", LIBRARY)
def test_tokens_are_the_librarys_own(family: str, made: Made) -> None:
    network, source = made(family)
    image = picture(32, 48)
    (tokens,) = zoo.load(source).encode([image])
    extra = {"image_sizes": torch.tensor([[32, 48]])} if family == "emu3" else {}
    with torch.no_grad():
        found = network.encode(seen(image), **extra).image_tokens
    expected = found[0] if family == "emu3" else found.reshape(tokens.arrays[0].shape)
    assert np.array_equal(tokens.arrays[0], expected.numpy())
    assert len(np.unique(tokens.arrays[0])) > 10, "a network that says one thing only would prove nothing"


def test_pictures_are_the_librarys_own(made: Made, tmp_path: Path) -> None:
    emu3, source = made("emu3")
    (tokens,) = zoo.load(source).encode([picture(32, 48)])
    (drawn,) = zoo.load(source).decode([tokens])
    with torch.no_grad():
        expected = emu3.decode(torch.from_numpy(tokens.arrays[0].astype(np.int64))[None])[0]
    expected = ((expected + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(drawn.pixels.astype(int) - expected).max() <= 1
    assert drawn.pixels.std() > 1
    janus = tiny_peers.made("janus", tmp_path, num_patches=8)  # its decoder takes this one size
    (tokens,) = zoo.load(f"hf:{tmp_path}").encode([picture(32, 32)])
    (drawn,) = zoo.load(f"hf:{tmp_path}").decode([tokens])
    with torch.no_grad():
        expected = janus.decode(torch.from_numpy(tokens.arrays[0].astype(np.int64)).reshape(1, -1))[0]
    expected = ((expected + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(drawn.pixels.astype(int) - expected).max() <= 1
    assert drawn.pixels.std() > 1


def test_chameleon_encodes_and_says_why_it_does_not_decode(made: Made) -> None:
    _, source = made("chameleon")
    tokenizer = zoo.load(source)
    tokens = tokenizer.encode([picture(16, 16)])
    with pytest.raises(ModelError, match=r"vqgan\.ckpt as file:PATH"):
        tokenizer.decode(tokens)


def test_our_network_is_llamagens(made: Made) -> None:
    """Janus' tokenizer is LlamaGen's in transformers' words, which begin as taming-transformers' do: the same weights, the same values."""
    janus, _ = made("janus")
    shared = vqgan.VqganConfig("taming", 64, (1, 1, 2), 1, (2,), (2,), 32, 4, 64)
    names = naming.publisher(vqgan.TAMING, 3)
    theirs = {key: value.numpy() for key, value in janus.state_dict().items()}
    # of the decoder transformers counts levels the other way round
    flipped = {_flipped(key): value for key, value in theirs.items()}
    net = naming.filled_by(lambda: vqgan.VqganNet(shared), flipped, names, "janus")
    image = picture(32, 48)
    with torch.no_grad():
        assert torch.allclose(net.encoder(seen(image)), janus.encoder(seen(image)), atol=1e-4)
        latents = torch.randn(2, 32, 6, 5, generator=torch.Generator().manual_seed(0))
        drawn = janus.decoder(latents)
        assert torch.allclose(net.decoder(latents), drawn, atol=1e-4)
        assert drawn.std() > 1e-3


def _flipped(key: str) -> str:
    head, _, rest = key.partition("decoder.up.")
    if head or not rest:
        return key
    number, _, rest = rest.partition(".")
    return f"decoder.up.{2 - int(number)}.{rest}"


@pytest.mark.parametrize("path", [path for name in FILES[:3] for path in PUBLISHED.glob(f"{name}*.json")], ids=lambda path: path.stem)
def test_published_names_and_shapes_are_those_of_our_networks(path: Path) -> None:
    shapes = {key: tuple(shape) for key, shape in json.loads(path.read_text())["tensors"].items()}
    found = vqgan.settings_of(shapes, path.stem)
    assert found is not None
    family, settings = found
    assert path.stem.startswith(family)
    config = vqgan.vqgan_config(settings)
    published = naming.publisher(vqgan.TABLES[family], len(config.multipliers))
    with torch.device("meta"):
        own = {published(key): tuple(value.shape) for key, value in vqgan.VqganNet(config).state_dict().items()}
    assert own == {key: shape for key, shape in shapes.items() if not key.startswith(vqgan.LEFT_OUT)}


def test_published_names_and_shapes_are_open_magvit2s_too() -> None:
    about = json.loads((PUBLISHED / "open-magvit2-256.json").read_text())
    shapes = {key: tuple(shape) for key, shape in about["tensors"].items()}
    settings = magvit2.settings_of(shapes, "published")
    assert settings is not None
    config = magvit2.magvit2_config(settings)
    assert (config.stride, config.bits, config.blocks, config.multipliers) == (16, 18, 4, (1, 1, 2, 2, 4))
    published = magvit2.names_of(config)
    with torch.device("meta"):
        own = {published(key): tuple(value.shape) for key, value in magvit2.Magvit2Net(config).state_dict().items()}
    assert own == shapes


def test_a_token_of_open_magvit2_is_its_channels_signs(made: Made) -> None:
    network, source = made("open-magvit2")
    image = picture(16, 24)
    (tokens,) = zoo.load(source).encode([image])
    with torch.no_grad():
        latents = network.encoder(seen(image))[0].numpy()
    expected = sum((latents[bit] > 0).astype(np.int32) << bit for bit in range(6))
    assert np.array_equal(tokens.arrays[0], expected)
    assert len(np.unique(expected)) > 3


def test_ibq_takes_the_entry_with_the_largest_product(made: Made) -> None:
    network, source = made("ibq")
    image = picture(16, 24)
    (tokens,) = zoo.load(source).encode([image])
    with torch.no_grad():
        latents = network.to_code(network.encoder(seen(image)))[0].permute(1, 2, 0)
    products = latents.double() @ network.entries.double().T
    assert np.array_equal(tokens.arrays[0], products.argmax(-1).numpy())
    distances = torch.cdist(latents.reshape(-1, 4).double(), network.entries.double())
    assert not np.array_equal(tokens.arrays[0].ravel(), distances.argmin(1).numpy()), "the nearest one is another"


def test_averages_go_before_the_weights_that_they_are_of(made: Made, tmp_path: Path) -> None:
    _, source = made("open-magvit2")
    tensors = torch.load(source.removeprefix("file:"), weights_only=True)["state_dict"]
    averages = {f"model_ema.{key.replace('.', '')}": value for key, value in tensors.items()}
    spoiled = {key: torch.zeros_like(value) for key, value in tensors.items()}
    torch.save({"state_dict": {**spoiled, **averages, "model_ema.decay": torch.tensor(0.9)}}, tmp_path / "c.ckpt")
    image = picture(20, 30)
    assert zoo.load(f"file:{tmp_path / 'c.ckpt'}").encode([image]) == zoo.load(source).encode([image])


def test_settings_are_read_from_shapes() -> None:
    shapes = json.loads((PUBLISHED / "llamagen-vq16.json").read_text())["tensors"]
    found = vqgan.settings_of({key: tuple(shape) for key, shape in shapes.items()}, "vq16")
    assert found is not None
    config = vqgan.vqgan_config(found[1])
    assert (config.stride, config.codebook_size, config.code, config.unit) == (16, 16384, 8, True)
    assert config.multipliers == (1, 1, 2, 2, 4)


@pytest.mark.parametrize("family", FILES)
@pytest.mark.parametrize("change", ["renamed", "missing", "reshaped"])
def test_tensors_that_do_not_fit_are_refused_by_their_published_name(family: str, change: str, made: Made, tmp_path: Path) -> None:
    _, source = made(family)
    tensors = torch.load(source.removeprefix("file:"), weights_only=True)["model" if family == "llamagen" else "state_dict"]
    for name in {"encoder.norm_out.weight", "decoder.conv_out.bias", "quantize.embedding.weight", "encoder.conv_in.weight"} & set(tensors):
        changed = dict(tensors)
        tensor = changed.pop(name)
        if change == "renamed":
            changed[f"{name}_"] = tensor
        elif change == "reshaped":
            changed[name] = torch.cat([tensor, tensor])
        torch.save(changed, tmp_path / "c.pt")
        if change == "reshaped" and name.startswith("quantize"):
            continue  # twice as many entries are a checkpoint like any other
        with pytest.raises(ModelError, match=r"missing|unknown|expected|multiple") as refused:
            zoo.load(f"file:{tmp_path / 'c.pt'}")
        assert "\n" not in str(refused.value)
        if change != "reshaped":
            assert name in str(refused.value)


def test_what_training_leaves_in_a_checkpoint_is_passed_over(made: Made, tmp_path: Path) -> None:
    _, source = made("taming")
    tensors = torch.load(source.removeprefix("file:"), weights_only=True)["state_dict"]
    torch.save({"state_dict": {**tensors, "loss.discriminator.main.0.weight": torch.zeros(3)}, "epoch": 4}, tmp_path / "c.ckpt")
    image = picture(20, 30)
    assert zoo.load(f"file:{tmp_path / 'c.ckpt'}").encode([image]) == zoo.load(source).encode([image])


def test_large_pictures_pass_in_tiles(made: Made) -> None:
    _, source = made("llamagen")
    tokenizer: Any = zoo.load(source)
    image = picture(64, 150)
    (whole,) = tokenizer.encode([image])
    tokenizer.tile_pixels = 64
    (tiled,) = tokenizer.encode([image])
    (drawn,) = tokenizer.decode([tiled])
    assert tiled.layout == whole.layout
    assert tiled != whole, "norms over the whole picture: tiles say something else"
    assert drawn.pixels.shape == (64, 150, 3)


def test_a_part_of_a_larger_model_is_found(made: Made, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _, source = made("janus")
    folder = Path(source.removeprefix("hf:"))
    settings = json.loads((folder / "config.json").read_text())
    tensors = {f"model.vqmodel.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
    save_file({**tensors, "model.language_model.norm.weight": torch.zeros(4)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "janus", "vq_config": settings}))
    image = picture(24, 24)
    assert zoo.load(f"hf:{tmp_path}").encode([image])[0] == zoo.load(source).encode([image])[0]


def test_the_preprocessor_beside_a_model_says_what_it_sees(made: Made, tmp_path: Path) -> None:
    _, source = made("janus")
    folder = Path(source.removeprefix("hf:"))
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(half))
    assert zoo.find(f"hf:{tmp_path}").config == zoo.find(source).config
    (tmp_path / "other").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "other" / name).write_bytes((folder / name).read_bytes())
    plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps(plain))
    other: Any = zoo.load(f"hf:{tmp_path / 'other'}")
    assert other.config.scale == (1.0, 1.0, 1.0)
    assert other.config.shift == (0.0, 0.0, 0.0)
    (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps({"image_mean": 3}))
    with pytest.raises(ModelError, match="image_mean has three numbers"):
        zoo.find(f"hf:{tmp_path / 'other'}")


def test_pictures_take_the_whole_way(made: Made, tmp_path: Path) -> None:
    """Two checkpoints of one folder are two models; tokens are as the network says them, not encoded again for their tone."""
    _, source = made("taming")
    image = picture(40, 56)
    data = api.compress(image, source)
    (tokens,) = zoo.load(source).encode([image])
    assert smalti.open(data, source) == tokens
    back = smalti.decompress(data, source)
    assert back.pixels.shape == (40, 56, 3)
    claimed = tokens.uniform_bits / 8
    assert claimed <= len(data) <= claimed * 1.01 + 40
    folder = tmp_path / "two"
    names = [tiny_peers.save("llamagen", folder / str(seed), seed=seed).removeprefix("file:") for seed in (1, 2)]
    for seed, name in enumerate(names):
        Path(name).rename(folder / f"{seed}.pt")
    first, second = (api.load(f"file:{folder / f'{seed}.pt'}") for seed in (0, 1))
    assert first.fingerprint != second.fingerprint
    assert first.encode([image]) != second.encode([image])


def test_a_config_does_not_allocate_what_its_weights_do_not_fill(made: Made, tmp_path: Path) -> None:
    _, source = made("llamagen")
    zoo.save(zoo.load(source), tmp_path / "mine")
    about = json.loads((tmp_path / "mine" / "config.json").read_text())
    about["config"]["settings"]["codebook_size"] = 2**19  # with channels below more than any machine holds
    about["config"]["settings"]["channels"] = 2**20
    (tmp_path / "mine" / "config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=r"has shape .*, expected \(2097152"):
        zoo.load(str(tmp_path / "mine"))


def test_tokens_go_through_arrays(made: Made, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from smalti.cli import program
    from smalti.codecs.media.images import read_image, write_image

    _, source = made("taming")
    write_image(picture(16, 24), tmp_path / "a.png")
    for command in (("tokenize", "a.png", "--format", "npy", "-o", "a.npy"), ("detokenize", "a.npy", "-o", "b.png")):
        words = [str(tmp_path / word) if "." in word else word for word in command]
        ran = CliRunner().invoke(program, [*words, "-m", source], standalone_mode=False)
        assert ran.return_value == 0, ran.output
    tokens = zoo.load(source).encode([picture(16, 24)])
    (drawn,) = zoo.load(source).decode(tokens)
    assert np.array_equal(np.load(tmp_path / "a.npy")[0], tokens[0].arrays[0])
    assert np.array_equal(read_image(tmp_path / "b.png").pixels, drawn.pixels)


def test_files_that_are_none_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        zoo.find(f"file:{tmp_path / 'none.pt'}")
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"those of no family known here: .*llamagen"):
        zoo.find(f"file:{tmp_path / 'a.pt'}")
    (tmp_path / "b.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="not readable as safetensors"):
        zoo.find(f"file:{tmp_path / 'b.safetensors'}")
