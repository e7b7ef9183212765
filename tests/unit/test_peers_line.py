"""TiTok and One-D-Piece: against the same networks put together from torch's own layers, and as their checkpoints are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import smalti
from smalti import api
from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers import titok
from smalti.tokenizers.signals import Image

PUBLISHED = Path(__file__).parent / "published"


def picture(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def transformer(tensors: dict[str, torch.Tensor], half: str, x: torch.Tensor) -> torch.Tensor:
    """torch's own layers with the published tensors of a half: what comes out behind the last norm."""
    width = x.shape[-1]
    layers = {key.split(".")[2] for key in tensors if key.startswith(f"{half}.transformer.")}
    x = F.layer_norm(x, (width,), tensors[f"{half}.ln_pre.weight"], tensors[f"{half}.ln_pre.bias"])
    for number in sorted(layers, key=int):
        own = {key.removeprefix(f"{half}.transformer.{number}."): value for key, value in tensors.items()}
        layer = torch.nn.TransformerEncoderLayer(width, width // 64, 4 * width, 0, "gelu", batch_first=True, norm_first=True).eval()
        names = {"ln_1": "norm1", "ln_2": "norm2", "attn": "self_attn", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}
        state = {key.replace(old, new): own[key] for old, new in names.items() for key in own if key.startswith(f"{old}.")}
        layer.load_state_dict(state)
        x = layer(x)
    return F.layer_norm(x, (width,), tensors[f"{half}.ln_post.weight"], tensors[f"{half}.ln_post.bias"])


@pytest.mark.parametrize("legacy", [True, False])
def test_it_is_what_torchs_own_layers_say(legacy: bool, tmp_path: Path) -> None:
    changes: dict[str, Any] = {} if legacy else {"legacy": False, "pixel": None, "unit": False}
    source = tiny_peers.save("titok", tmp_path, **changes)
    tensors = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    tokenizer: Any = zoo.load(source)
    image = picture(16, 16)
    seen = torch.from_numpy(image.pixels.astype(np.float32)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        patches = F.conv2d(seen, tensors["encoder.patch_embed.weight"], tensors["encoder.patch_embed.bias"], stride=4).flatten(2).mT
        x = torch.cat([tensors["encoder.class_embedding"][None], patches], 1) + tensors["encoder.positional_embedding"]
        line = tensors["latent_tokens"] + tensors["encoder.latent_token_positional_embedding"]
        found = transformer(tensors, "encoder", torch.cat([x, line[None]], 1))[:, -8:]
        columns = found.reshape(1, 64, 8) if legacy else found.mT
        codes = (tensors["encoder.conv_out.weight"][:, :, 0, 0] @ columns + tensors["encoder.conv_out.bias"][:, None]).mT[0]
        table = tensors["quantize.embedding.weight"]
        if legacy:
            codes, table = F.normalize(codes, dim=-1), F.normalize(table, dim=-1)
        expected = torch.cdist(codes.double(), table.double()).argmin(1)
        (tokens,) = tokenizer.encode([image])
        assert np.array_equal(tokens.arrays[0][:, 0, 0], expected.numpy())
        assert len(np.unique(expected)) > 2
        entries = F.linear(table[expected], tensors["decoder.decoder_embed.weight"], tensors["decoder.decoder_embed.bias"])
        blanks = torch.cat([tensors["decoder.class_embedding"], tensors["decoder.mask_token"][0].expand(16, -1)])
        x = torch.cat([blanks + tensors["decoder.positional_embedding"], entries + tensors["decoder.latent_token_positional_embedding"]])
        said = transformer(tensors, "decoder", x[None])[:, 1:17].mT.reshape(1, 128, 4, 4)
        said = F.conv2d(said, tensors["decoder.ffn.0.weight"], tensors["decoder.ffn.0.bias"])
        if legacy:
            logits = F.conv2d(said.tanh(), tensors["decoder.ffn.2.weight"], tensors["decoder.ffn.2.bias"])
            assert torch.allclose(tokenizer.net.network.decoder(table[expected][None]), logits, atol=1e-4)
        else:  # channels of a patch are (row, column, colour)
            whole = F.pixel_shuffle(said.reshape(1, 4, 4, 3, 4, 4).permute(0, 3, 1, 2, 4, 5).reshape(1, 48, 4, 4), 4)
            drawn = F.conv2d(whole, tensors["decoder.conv_out.weight"], tensors["decoder.conv_out.bias"], padding=1)
            assert torch.allclose(tokenizer.net.detokenize(expected[None]), drawn, atol=1e-4)


@pytest.mark.parametrize("path", [*PUBLISHED.glob("titok*.json"), *PUBLISHED.glob("one-d-piece*.json")], ids=lambda path: path.stem)
def test_published_names_and_shapes_are_those_of_our_networks(path: Path) -> None:
    about = json.loads(path.read_text())
    shapes = {key: tuple(shape) for key, shape in about["tensors"].items()}
    config = titok.titok_config(titok.settings_of(shapes, about["config"], path.stem))
    with torch.device("meta"):
        network = titok.TiTokNet(config)
    published = titok.names_of(config)
    assert {published(key): tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    vq = about["config"]["model"]["vq_model"]
    assert (sum(config.bands), config.codebook_size, config.side) == (vq["num_latent_tokens"], vq["codebook_size"], 256)
    assert (len(config.bands) > 1) == path.stem.startswith("one-d-piece")


def test_any_number_of_bands_decodes(tmp_path: Path) -> None:
    source = tiny_peers.save("one-d-piece", tmp_path)
    tokenizer: Any = zoo.load(source)
    (tokens,) = tokenizer.encode([picture(20, 30)])
    assert [stage.shape[0] for stage in tokens.layout.stages] == [1, 1, 2, 4]
    assert tokens.layout.cuts == (1, 2, 3, 4)
    data = [api.compress(picture(20, 30), source, stages=k) for k in (1, 4)]
    assert len(data[0]) < len(data[1])
    assert smalti.decompress(data[0], source).pixels.shape == (20, 30, 3)
    line = tokens.arrays[0][:, 0, 0].astype(np.int64)
    with torch.no_grad():
        alone = tokenizer.net.detokenize(torch.from_numpy(line)[None])
    assert alone.shape == (1, 3, 16, 16)


def test_bands_are_all_tokens_within_the_most_stages() -> None:
    for count in (1, 3, 32, 256, 1000, 4096):
        bands = titok.bands_of(count, True)
        assert sum(bands) == count
        assert len(bands) <= 32
    assert titok.bands_of(32, False) == [32]


def test_a_small_picture_fills_its_square(tmp_path: Path) -> None:
    tokenizer: Any = zoo.load(tiny_peers.save("titok", tmp_path))
    flat = Image(np.full((5, 8, 3), 90, np.uint8))
    whole = Image(np.full((16, 16, 3), 90, np.uint8))
    assert np.array_equal(tokenizer.encode([flat])[0].arrays[0], tokenizer.encode([whole])[0].arrays[0])
    (back,) = tokenizer.decode(tokenizer.encode([flat]))
    assert back.pixels.shape == (5, 8, 3)


@pytest.mark.parametrize("change", ["renamed", "missing", "reshaped"])
def test_tensors_that_do_not_fit_are_refused_by_their_published_name(change: str, tmp_path: Path) -> None:
    source = tiny_peers.save("titok", tmp_path)
    path = tmp_path / "pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    name = "decoder.transformer.0.mlp.c_fc.weight"
    tensor = tensors.pop(name)
    if change == "renamed":
        tensors[name + "_"] = tensor
    elif change == "reshaped":
        tensors[name] = tensor[:-1]
    torch.save(tensors, path)
    expected = r"has shape \(511, 128\), expected \(512, 128\)" if change == "reshaped" else "is missing"
    with pytest.raises(ModelError, match=expected) as refused:
        zoo.load(source)
    assert name in str(refused.value)


def test_what_gives_no_tokens_is_refused_by_its_key(tmp_path: Path) -> None:
    source = tiny_peers.save("titok", tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    about["model"]["vq_model"]["quantize_mode"] = "vae"
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="quantize_mode"):
        zoo.find(source)


def test_a_file_wants_its_config_beside(tmp_path: Path) -> None:
    source = tiny_peers.save("titok", tmp_path)
    image = picture(16, 20)
    assert zoo.load(f"file:{tmp_path / 'pytorch_model.bin'}").encode([image]) == zoo.load(source).encode([image])
    (tmp_path / "config.json").rename(tmp_path / "elsewhere.txt")
    with pytest.raises(ModelError, match=r"pytorch_model\.json"):
        zoo.find(f"file:{tmp_path / 'pytorch_model.bin'}")
