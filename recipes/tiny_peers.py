"""Untrained, tiny checkpoints of the public families, made and saved by their own classes: to try adapters without a network.

    python -m smalti.recipes.tiny_peers FAMILY FOLDER

What comes out of them is noise; layouts, files and errors are those of the real ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.peers.library import imported, quiet

FILE = "checkpoint.pt"  # of families that are one file of weights
IN_FILES = ("taming", "llamagen", "ibq", "open-magvit2", "wavtokenizer")
OURS = (*IN_FILES, "titok", "one-d-piece", "cosmos")  # that need no package of others
_ENCODEC = {
    "num_filters": 4, "hidden_size": 16, "upsampling_ratios": [4, 2], "codebook_size": 64, "sampling_rate": 24000,
    "num_lstm_layers": 1, "target_bandwidths": [18.0, 72.0],
}  # fmt: skip
_DAC = {
    "encoder_hidden_size": 4, "downsampling_ratios": [2, 5], "decoder_hidden_size": 16, "n_codebooks": 3, "codebook_size": 64,
    "codebook_dim": 4,
}  # fmt: skip
_MIMI = {
    "hidden_size": 32, "num_filters": 4, "upsampling_ratios": [4, 3], "codebook_size": 64, "codebook_dim": 16, "num_quantizers": 4,
    "vector_quantization_hidden_dimension": 16, "upsample_groups": 32, "num_hidden_layers": 1, "intermediate_size": 32,
    "num_attention_heads": 2, "num_key_value_heads": 2, "sliding_window": 10,
}  # fmt: skip
_XCODEC = {
    "target_bandwidths": [0.3, 1.2],
    "codebook_size": 64,
    "acoustic_model_config": {
        "model_type": "dac", "encoder_hidden_size": 4, "decoder_hidden_size": 16, "downsampling_ratios": [8, 5, 4, 2], "hidden_size": 64,
    },
    "semantic_model_config": {
        "model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    },
}  # fmt: skip
_SNAC = {
    "sampling_rate": 24000, "encoder_dim": 4, "encoder_rates": [2, 2, 3], "decoder_dim": 32, "decoder_rates": [3, 2, 2],
    "attn_window_size": None, "codebook_size": 64, "codebook_dim": 4, "vq_strides": [4, 2, 1],
}  # fmt: skip
_JANUS = {
    "base_channels": 64, "channel_multiplier": [1, 1, 2], "num_res_blocks": 1, "latent_channels": 32, "embed_dim": 4, "num_embeddings": 64,
    "projection_dim": 8, "image_token_embed_dim": 8,
}  # fmt: skip
_EMU3 = {
    "base_channels": 64, "channel_multiplier": [1, 2], "num_res_blocks": 1, "latent_channels": 4, "embed_dim": 4, "codebook_size": 64,
    "attn_resolutions": [1], "hidden_size": 128, "temporal_downsample_factor": 2,
}  # fmt: skip
_CHAMELEON = {
    "base_channels": 64, "channel_multiplier": [1, 1, 2], "num_res_blocks": 1, "latent_channels": 32, "embed_dim": 4, "num_embeddings": 64,
    "attn_resolutions": None, "resolution": 64,
}  # fmt: skip
_VQGAN = {
    "channels": 64, "multipliers": [1, 1, 2], "blocks": 1, "encoder_attention": [2], "decoder_attention": [2], "latent": 32, "code": 4,
    "codebook_size": 64,
}  # fmt: skip
_TITOK = {
    "side": 16, "patch": 4, "widths": [64, 128], "layers": [1, 1], "bands": [8], "code": 4, "codebook_size": 64, "unit": True,
    "legacy": True, "pixel": {"channels": 32, "multipliers": [1, 1, 2], "blocks": 1, "latent": 32, "codebook_size": 32},
}  # fmt: skip
_WAVTOKENIZER = {
    "channels": 4, "strides": [2, 5], "lstm": 2, "code": 8, "codebook_size": 64, "width": 64, "wide": 96, "blocks": 2, "bands": 4,
    "window": 40,
}  # fmt: skip
_MAGVIT2 = {"channels": 64, "multipliers": [1, 1, 2], "blocks": 1, "bits": 6}


def save(family: str, folder: Path, seed: int = 0, **changes: Any) -> str:
    """Write a tiny checkpoint of a family into a folder, `changes` made to its settings; returns the name to load it by.

    UsageError for a family that there is none of, ModelError where its package is missing.
    """
    made(family, folder, seed, **changes)
    return f"file:{folder / FILE}" if family in IN_FILES else f"hf:{folder}"


def made(family: str, folder: Path, seed: int = 0, **changes: Any) -> Any:
    """The same; returns the library's own network, in evaluation mode."""
    import torch

    if family not in MAKERS:
        raise UsageError(f"no tiny checkpoint of family {family!r}; there is {', '.join(MAKERS)}")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = MAKERS[family](folder, changes)
    return network.eval()


def _by_transformers(config_class: str, network_class: str, settings: Mapping[str, Any]) -> Callable[[Path, Mapping[str, Any]], Any]:
    def make(folder: Path, changes: Mapping[str, Any]) -> Any:
        package = imported("transformers", "a tiny checkpoint")
        with quiet():
            network = getattr(package, network_class)(getattr(package, config_class)(**(dict(settings) | dict(changes))))
            _spread(network)
            network.save_pretrained(folder)
        return network

    return make


def _snac(folder: Path, changes: Mapping[str, Any]) -> Any:
    import torch

    settings = _SNAC | dict(changes)
    network = imported("snac", "a tiny checkpoint").SNAC(**settings)
    _spread(network)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(settings))
    return network


def _spread(network: Any) -> None:
    """Untrained networks say one token for everything: tables of zeros get entries, and biases, which outweigh the signal, go."""
    import torch

    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            last = name.rpartition(".")[2]
            if last in ("embed", "embed_sum", "embed_avg") and not tensor.any():
                tensor.normal_().mul_(1.0 if last == "embed_sum" else 0.02)
            elif last == "bias":
                tensor.zero_()


def _vqgan(names: str) -> Callable[[Path, Mapping[str, Any]], Any]:
    def make(folder: Path, changes: Mapping[str, Any]) -> Any:
        import torch

        from smalti.tokenizers.peers import naming, vqgan

        blocks = vqgan.IBQ_BLOCKS if names == "ibq" else _VQGAN["blocks"]
        config = vqgan.vqgan_config({**_VQGAN, "names": names, "unit": names == "llamagen", "blocks": blocks, **changes})
        network = vqgan.VqganNet(config)
        published = naming.publisher(vqgan.TABLES[names], len(config.multipliers))
        torch.save({"model" if names == "llamagen" else "state_dict": _published(network, published)}, folder / FILE)
        return network

    return make


def _magvit2(folder: Path, changes: Mapping[str, Any]) -> Any:
    import torch

    from smalti.tokenizers.peers import magvit2

    config = magvit2.magvit2_config({**_MAGVIT2, **changes})
    network = magvit2.Magvit2Net(config)
    torch.save({"state_dict": _published(network, magvit2.names_of(config))}, folder / FILE)
    return network


def _wavtokenizer(folder: Path, changes: Mapping[str, Any]) -> Any:
    import torch

    from smalti.tokenizers.peers import wavtokenizer

    config = wavtokenizer.wavtokenizer_config({**_WAVTOKENIZER, **changes})
    network = wavtokenizer.WavTokenizerNet(config)
    torch.save({"state_dict": _published(network, wavtokenizer.names_of(config))}, folder / FILE)
    return network


def _titok(drops: bool) -> Callable[[Path, Mapping[str, Any]], Any]:
    def make(folder: Path, changes: Mapping[str, Any]) -> Any:
        import torch

        from smalti.tokenizers.peers import titok

        settings = {**_TITOK, **changes}
        settings["bands"] = titok.bands_of(sum(settings["bands"]), drops)
        config = titok.titok_config(settings)
        network = titok.TiTokNet(config)
        torch.save(_published(network, titok.names_of(config)), folder / "pytorch_model.bin")
        vq = {"use_l2_norm": config.unit, "is_legacy": config.legacy, "strict_length_assertion": not drops}
        about = {"model": {"type": "one_d_piece" if drops else "titok", "vq_model": vq}}
        (folder / "config.json").write_text(json.dumps(about))
        return network

    return make


def _cosmos(folder: Path, changes: Mapping[str, Any]) -> Any:
    """Programs of 4 x 4 pixels a token that say their mean brightness; the folder's name says so."""
    import warnings

    import torch
    from torch import nn

    class Says(nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            found = torch.nn.functional.avg_pool2d(pixels, 4).mean(1)
            indices = ((found + 1) * 127.5).round().int()
            return indices, found, found

    class Draws(nn.Module):
        def forward(self, indices: torch.Tensor) -> torch.Tensor:
            grey = (indices.float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)
            return torch.nn.functional.interpolate(grey, scale_factor=4.0)

    if not folder.name.endswith("DI4x4"):
        raise UsageError(f"{folder}: programs do not say how many pixels a token has, their folder does; name it ...DI4x4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript grows old
        torch.jit.script(Says()).save(folder / "encoder.jit")
        torch.jit.script(Draws()).save(folder / "decoder.jit")
    return Draws()


def _published(network: Any, published: Callable[[str], str]) -> dict[str, Any]:
    return {published(key): value for key, value in network.state_dict().items()}


MAKERS: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {
    "encodec": _by_transformers("EncodecConfig", "EncodecModel", _ENCODEC),
    "dac": _by_transformers("DacConfig", "DacModel", _DAC),
    "mimi": _by_transformers("MimiConfig", "MimiModel", _MIMI),
    "xcodec": _by_transformers("XcodecConfig", "XcodecModel", _XCODEC),
    "snac": _snac,
    "janus": _by_transformers("JanusVQVAEConfig", "JanusVQVAE", _JANUS),
    "emu3": _by_transformers("Emu3VQVAEConfig", "Emu3VQVAE", _EMU3),
    "chameleon": _by_transformers("ChameleonVQVAEConfig", "ChameleonVQVAE", _CHAMELEON),
    "taming": _vqgan("taming"),
    "llamagen": _vqgan("llamagen"),
    "ibq": _vqgan("ibq"),
    "open-magvit2": _magvit2,
    "wavtokenizer": _wavtokenizer,
    "cosmos": _cosmos,
    "titok": _titok(False),
    "one-d-piece": _titok(True),
}


PACKAGES: dict[str, tuple[str, ...]] = {  # that a family's networks come from
    family: () if family in OURS else ("snac",) if family == "snac" else ("transformers",) for family in MAKERS
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where the family or its package is missing."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.tiny_peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("family", choices=sorted(MAKERS), metavar="FAMILY", help=", ".join(sorted(MAKERS)))
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the checkpoint goes")
    given = parser.parse_args(arguments)
    try:
        print(f"{save(given.family, given.folder)}: the model's name, for -m")
    except SmaltiError as error:
        print(f"tiny_peers: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
