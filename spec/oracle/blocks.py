#!/usr/bin/env python3
"""Random and extreme blocks of every GGML type with the values that the gguf package gives them.

    pip install gguf==0.19.0 && python3 blocks.py [blocks.safetensors]

TYPE.blocks holds the bytes of some blocks, TYPE.values what they decode to as float32. First random bytes with a
reasonable scale, as many as name every entry of the type's codebook; then blocks with scales of zero, the smallest and
a larger denormal, the largest half, negative ones, infinities and NaN, each over codes that are all zero bits, all one
bits and random.
"""
import sys

import numpy as np
from gguf import GGMLQuantizationType, constants, quants

from numfmt import st_save

SEED = 20
# Where the halves of a block lie: those it is multiplied with. IQ1_M's is in pieces, MXFP4 has another kind of scale.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ1_S": [0], "IQ1_M": [], "IQ2_XXS": [0], "IQ2_XS": [0],
    "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
HALF_CODES = [0x0000, 0x8000, 0x0001, 0x8155, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]
SWEEPS = {"IQ1_S": 64, "IQ2_XXS": 8, "IQ2_XS": 16, "IQ2_S": 32, "IQ3_XXS": 4, "IQ3_S": 8}


def set_half(block, name, at, code):
    if name == "IQ1_M":
        for i in range(4):
            block[49 + 2 * i] = block[49 + 2 * i] & 15 | (code >> 4 * i & 15) << 4
    else:
        block[at:at + 2] = code & 255, code >> 8


def set_scales(block, name, code):
    for at in [0] if name == "IQ1_M" else HALVES[name]:
        set_half(block, name, at, code)


def name_entries(block, name, k):
    """Makes block k of a sweep name the entries that follow those of block k - 1."""
    eight, four = 32 * k + np.arange(32), 64 * k + np.arange(64)
    if name == "IQ1_S":
        block[2:34] = eight & 255
        high = block[34:50].view("<u2")
        high[:] = high & 0xF000 | (k >> 3) * 0o1111
    elif name == "IQ2_XXS":
        block[2:66].reshape(8, 8)[:, :4] = eight.reshape(8, 4)
    elif name == "IQ2_XS":
        q = block[2:66].view("<u2")
        q[:] = q & 0xFE00 | eight
    elif name == "IQ2_S":
        block[2:34], block[66:74] = eight & 255, (k >> 3) * 0x55
    elif name == "IQ3_XXS":
        block[2:66] = four
    elif name == "IQ3_S":
        block[2:66], block[66:74] = four & 255, (k >> 2) * 0xFF


def blocks_of(name, size, random):
    made = []
    for k in range(max(8, SWEEPS.get(name, 0))):
        block = random.integers(0, 256, size, dtype=np.uint8)
        set_scales(block, name, int(random.integers(0x1800, 0x3C00)) | int(random.integers(0, 2)) << 15)
        if k < SWEEPS.get(name, 0):
            name_entries(block, name, k)
        made.append(block)
    if name == "MXFP4":
        for code in 0, 1, 2, 127, 253, 254, 255:
            made.append(np.append(np.uint8(code), random.integers(0, 256, size - 1, dtype=np.uint8)))
        return np.stack(made)
    for i, code in enumerate(HALF_CODES):
        block = random.integers(0, 256, size, dtype=np.uint8) if i % 3 == 2 else np.full(size, i % 3 * 255, np.uint8)
        set_scales(block, name, code)
        made.append(block)
    for at in HALVES[name][1:]:          # one scale odd, the other not
        for code in 0, 0x7C00, 0x7E00:
            block = random.integers(0, 256, size, dtype=np.uint8)
            set_scales(block, name, 0x2C00)
            set_half(block, name, at, code)
            made.append(block)
    return np.stack(made)


def main():
    random, out = np.random.default_rng(SEED), {}
    for name in HALVES:
        kind = GGMLQuantizationType[name]
        blocks = blocks_of(name, constants.GGML_QUANT_SIZES[kind][1], random)
        with np.errstate(invalid="ignore", over="ignore"):
            values = quants.dequantize(blocks, kind)
        out[name + ".blocks"], out[name + ".values"] = blocks, values.astype(np.float32)
    st_save(sys.argv[1] if len(sys.argv) > 1 else "blocks.safetensors", out)


main()
