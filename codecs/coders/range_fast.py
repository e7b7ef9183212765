"""The range coder inside kernels: after `import range_fast`, functions made by `compiled` can call those of `range_coder.py`.

Half a second to load, since it loads numba.
"""

from __future__ import annotations

from numba.extending import register_jitable

from smalti.codecs.coders import range_coder

for _function in (
    range_coder.shift_out,
    range_coder.shift_in,
    range_coder.encode_bit,
    range_coder.decode_bit,
    range_coder.encode_interval,
    range_coder.decode_slot,
    range_coder.decode_interval,
    range_coder.overrun,
):
    register_jitable(_function)
