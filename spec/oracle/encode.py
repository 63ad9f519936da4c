#!/usr/bin/env python3
"""Values and what the gguf package, NumPy and numfmt.py encode them to.

    pip install gguf==0.19.0 && python3 encode.py [encode.safetensors]

`values` [rows, 256] has rows of every usual size, normal and heavy-tailed, then zeros, tiny ones, ties and what a half
can just hold; Q8_0, BF16, MXFP4 are the package's bytes of it, F16 is NumPy's cast. `tiles` [130, 160] has what
numfmt.py makes of it as FP8, ragged tiles included.
"""
import sys

import numpy as np
from gguf import GGMLQuantizationType, quants

from numfmt import quant_fp8_weight, st_save

SEED = 21


def values():
    random, rows = np.random.default_rng(SEED), []
    for exponent in range(-18, 12, 3):
        rows.append(random.standard_normal(256) * 2.0 ** exponent)
    rows += [random.standard_t(3, 256) * 0.05, random.standard_cauchy(256) * 0.01, random.uniform(-1, 1, 256)]
    rows += [np.zeros(256), random.standard_normal(256) * 2.0 ** -24, random.standard_normal(256) * 1e-34]
    rows += [np.append(random.integers(-253, 254, 255) / 2, 127), random.choice([-65504.0, 65504.0, 65519.0, 1.0], 256)]
    one = np.zeros(256)
    one[37], one[200] = -3.25, 1e-30
    return np.stack(rows + [one]).astype(np.float32)


def main():
    x, out = values(), {}
    out["values"] = x
    with np.errstate(over="ignore"):
        for name in "Q8_0", "BF16", "MXFP4":
            out[name] = quants.quantize(x, GGMLQuantizationType[name]).view(np.uint8)
    out["F16"] = x.astype(np.float16).view(np.uint8)
    tiles = (np.random.default_rng(SEED).standard_normal((130, 160)) * 0.03).astype(np.float32)
    tiles[128:, :128] *= 1000
    tiles[:128, 128:] *= 1e-6
    tiles[0, 0] = 448 * 2.0 ** -11            # the largest code, and no more
    codes, scales = quant_fp8_weight(tiles)
    out["tiles"], out["FP8.codes"], out["FP8.scales"] = tiles, codes, scales
    st_save(sys.argv[1] if len(sys.argv) > 1 else "encode.safetensors", out)


main()
