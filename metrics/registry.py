"""Metrics by name: "module:factory"; other distributions add theirs by entry points `smalti.metrics`."""

METRICS = {
    "psnr": "smalti.metrics.image:PSNR",
    "lpips-alex": "smalti.metrics.image:lpips_alex",
    "lpips-vgg": "smalti.metrics.image:lpips_vgg",
}
