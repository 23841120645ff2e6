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
    # "flags" on x86, "Features" on ARM.
    flags = {flag for line in lines if line[:5] in ("flags", "Featu") for flag in line.split()}
    return tuple(name for name in _BFLOAT16 if name in flags)
