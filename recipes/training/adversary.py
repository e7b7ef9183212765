"""A patch discriminator beside the picture losses: textures that mean errors blur away.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004) for the patches, hinge losses after
Lim and Ye (arXiv 1705.02894), LeCam regularization by Tseng et al. (arXiv 2104.03310). Deviations: spectral norm (Miyato et al., arXiv
1802.05957) in place of batch norm, whose statistics over space tell the two halves of a batch apart; a fixed weight in place of VQGAN's
ratio of gradients, which costs a backward pass more.

The discriminator learns from the first step, and counts for the tokenizer only after a part of the run: one that knows nothing yet would
pull in random directions.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from smalti.recipes.training.config import AdversaryConfig

SLOPE = 0.2
DECAY = 0.99  # of LeCam's averages


class PatchDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] -> one number per patch (B, 1, H / 2^layers, W / 2^layers), high for real ones.

    A patch sees 4, 10, 22 or 46 pixels a side with 1, 2, 3 or 4 layers, and 3 steps of its own grid in the head.
    """

    real_mean: Tensor
    fake_mean: Tensor

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        widths = [3, *(width * 2**i for i in range(layers))]
        steps: list[nn.Module] = []
        for i in range(layers):
            steps += [spectral_norm(nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1)), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*steps, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))
        self.register_buffer("real_mean", torch.zeros(()))
        self.register_buffer("fake_mean", torch.zeros(()))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


class Adversary:
    """The discriminator of a run with its optimizer. learns_from: the fraction of the run from which it is taught."""

    learns_from = 0.0

    def __init__(self, config: AdversaryConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        with torch.random.fork_rng(devices=[]):  # what is drawn after it stays what it is in a run without one
            net = PatchDiscriminator(config.width, config.layers)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, betas=(0.5, 0.9), weight_decay=0.0)
        self.net, self.optimizer = accelerator.prepare(net, optimizer)

    @property
    def bare(self) -> PatchDiscriminator:
        """The network without what several processes wrap it in."""
        return self.accelerator.unwrap_model(self.net)

    def weight(self, progress: float) -> float:
        """What the tokenizer's term weighs at a fraction of the run: 0 until `counts_from`, full a tenth later."""
        return self.config.weight * min(1.0, max(0.0, (progress - self.config.counts_from) / 0.1))

    def terms(self, picture: Tensor, reconstruction: Tensor, total: Tensor, progress: float) -> dict[str, Tensor]:
        """Its term, and the `total` with that in it."""
        adversarial = self.judge(reconstruction)
        return {"adversarial": adversarial, "total": total + self.weight(progress) * adversarial}

    def judge(self, reconstruction: Tensor) -> Tensor:
        """The tokenizer's term: the lower, the more patches pass for real. The discriminator itself learns nothing from it."""
        self.bare.requires_grad_(False)
        self.bare.eval()  # spectral norm takes a power iteration at each forward in training
        score = self.bare(reconstruction.float())
        self.bare.requires_grad_(True)
        return -score.mean()

    def learn(self, picture: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator; its hinge loss and how far it tells the two apart."""
        self.net.train()
        both = self.net(torch.cat([picture, reconstruction.detach().float()]))
        real, fake = both.chunk(2)
        hinge = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        net = self.bare
        lecam = (real - net.fake_mean).square().mean() + (fake - net.real_mean).square().mean()
        self.accelerator.backward(hinge + self.config.lecam * lecam)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            net.real_mean.lerp_(real.mean(), 1 - DECAY)
            net.fake_mean.lerp_(fake.mean(), 1 - DECAY)
        return {"discriminator": hinge.detach(), "margin": (real.mean() - fake.mean()).detach()}
