"""Discriminators beside the losses of sound: what mean errors leave buzzing or dull.

Hinge losses, and the mean difference of what the discriminators' layers see in both sounds (feature matching, arXiv 1910.06711), divided by
the mean size of the real ones, so that deep and shallow layers count alike. Verdicts and features are balanced as in EnCodec (arXiv
2210.13438): each is scaled until its gradient at the waveform has a set size, whatever its own scale is. Deviation: that size is a part of
the other losses' gradient there, not a share of a fixed sum, so that recipes with and without discriminators have equal learning rates.
Norms are averaged over steps; one that has nearly vanished is not scaled up without bound.

The discriminators learn from a little before they count: on a CPU they cost more than the tokenizer.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.recipes.training.config import SoundAdversaryConfig
from smalti.recipes.training.sound_discriminators import SoundDiscriminators

LEAD = 0.05  # fraction of a run
RAMP = 0.05
DECAY = 0.99  # of the balancer's norms
SMALLEST = 1e-3  # part of its own highest norm below which a term is not scaled up further
CLIP = 10.0
BASE, VERDICT, FEATURES = 0, 1, 2


class BalancedDiscriminators(nn.Module):
    """The networks, and the balancer's averages, which checkpoints keep with them."""

    norms: Tensor
    highest: Tensor
    steps: Tensor

    def __init__(self, config: SoundAdversaryConfig) -> None:
        super().__init__()
        self.discriminators = SoundDiscriminators(config.periods, config.windows, config.width)
        self.register_buffer("norms", torch.zeros(3))
        self.register_buffer("highest", torch.zeros(3))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, wave: Tensor) -> list[list[Tensor]]:
        return self.discriminators(wave)


class SoundAdversary:
    """The discriminators of a run with their optimizer. learns_from: the fraction of the run from which they are taught."""

    def __init__(self, config: SoundAdversaryConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        self.learns_from = max(0.0, config.counts_from - LEAD)
        with torch.random.fork_rng(devices=[]):  # what is drawn after it stays what it is in a run without
            net = BalancedDiscriminators(config)
        optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, betas=(0.8, 0.99), weight_decay=0.0)
        self.net, self.optimizer = accelerator.prepare(net, optimizer)

    @property
    def bare(self) -> BalancedDiscriminators:
        """The networks without what several processes wrap them in."""
        return self.accelerator.unwrap_model(self.net)

    def weight(self, progress: float) -> float:
        """How much they count at a fraction of the run: 0 until `counts_from`, fully a twentieth later."""
        return min(1.0, max(0.0, (progress - self.config.counts_from) / RAMP))

    def terms(self, wave: Tensor, reconstruction: Tensor, total: Tensor, progress: float) -> dict[str, Tensor]:
        """Verdict and features by name, and the `total` with both in it, balanced; the discriminators themselves learn nothing from it."""
        net = self.bare
        net.requires_grad_(False)
        with torch.no_grad():
            real = net(wave)
        fake = net(reconstruction)
        verdict = torch.stack([-layers[-1].mean() for layers in fake]).mean()
        features = torch.stack([_matched(a, b) for a, b in zip(real, fake, strict=True)]).mean()
        net.requires_grad_(True)
        scale = self._scales(reconstruction, [total, verdict, features])
        ramp = self.weight(progress)
        pulled = self.config.weight * (scale[VERDICT] * verdict + self.config.features * scale[FEATURES] * features)
        return {"adversarial": verdict, "features": features, "total": total + ramp * pulled}

    def learn(self, wave: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """One step of the discriminators; their hinge loss and how far they tell the two apart."""
        verdicts = [layers[-1].chunk(2) for layers in self.net(torch.cat([wave, reconstruction.detach()]).float())]
        hinge = torch.stack([F.relu(1 - real).mean() + F.relu(1 + fake).mean() for real, fake in verdicts]).mean() / 2
        margin = torch.stack([(real.mean() - fake.mean()).detach() for real, fake in verdicts]).mean()
        self.accelerator.backward(hinge)
        self.accelerator.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"discriminator": hinge.detach(), "margin": margin}

    def _scales(self, reconstruction: Tensor, terms: list[Tensor]) -> Tensor:
        """What each term is multiplied by, so that its gradient at the waveform is as large as the first's: (3,)."""
        net = self.bare
        gradients = [torch.autograd.grad(term, reconstruction, retain_graph=True)[0] for term in terms]
        norms = torch.stack([gradient.detach().float().flatten(1).norm(dim=1).mean() for gradient in gradients])
        net.steps += 1
        net.norms.lerp_(norms, 1 - DECAY)
        mean = net.norms / (1 - DECAY ** net.steps.float())
        net.highest.copy_(torch.maximum(net.highest, mean))
        return mean[BASE] / torch.maximum(mean, SMALLEST * net.highest).clamp(min=1e-12)


def _matched(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Mean over layers, but for the verdict."""
    parts = [F.l1_loss(b, a) / a.abs().mean().clamp(min=1e-5) for a, b in zip(real[:-1], fake[:-1], strict=True)]
    return torch.stack(parts).mean()
