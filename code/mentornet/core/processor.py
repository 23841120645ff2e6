"""The processor's features."""

from __future__ import annotations

import pathlib

# As Linux names them: x86 (vectors, tiles) and ARM.
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def bfloat16_instructions(cpuinfo: str = "/proc/cpuinfo") -> tuple[str, ...]:
    """The processor's bfloat16 instructions, by their Linux names; empty on other systems."""
    try:
        lines = pathlib.Path(cpuinfo).read_text().splitlines()
    except OSError:
        return ()
    named = (line for line in lines if line.startswith(("flags", "Features")))  # x86, ARM.
    flags = {flag for line in named for flag in line.split()}
    return tuple(name for name in _BFLOAT16 if name in flags)
