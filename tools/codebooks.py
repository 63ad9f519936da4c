"""Writes csrc/compute/cpu/codebooks.c: the grids and signs of GGML's IQ types, taken from the gguf package.

    pip install gguf==0.19.0 && python3 tools/codebooks.py
"""
import numpy as np
from gguf import quants

PATH = "csrc/compute/cpu/codebooks.c"
HEAD = """/*
** Codebooks of GGML's IQ types. Written by tools/codebooks.py from the gguf package: change that, not this.
** The tables are GGML's:
**
** MIT License. Copyright (c) 2023-2026 The ggml authors
**
** Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
** documentation files (the "Software"), to deal in the Software without restriction, including without limitation
** the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
** permit persons to whom the Software is furnished to do so, subject to the following conditions:
**
** The above copyright notice and this permission notice shall be included in all copies or substantial portions of
** the Software.
**
** THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
** WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
** OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
** OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
*/
#include "blocks.h"
"""


def grid_of(name):
    """[entries, values] of a type, as small integers."""
    cls = getattr(quants, name)
    cls.init_grid()
    return cls.grid.reshape(cls.grid_shape).astype(np.int64)


def bytes_of(grid):
    """One integer an entry, a byte a value, the first lowest."""
    return [sum(int(v) << 8 * i for i, v in enumerate(row)) for row in grid]


def codes_of(grid, values, bits):
    """One integer an entry: the place of each value among `values`, `bits` each, the first lowest."""
    return [sum(values.index(int(v)) << bits * i for i, v in enumerate(row)) for row in grid]


def table(type_, name, numbers, digits):
    width = 2 + digits + 2
    a_line = (120 - 2) // width
    lines = [f"\nconst {type_} {name}[{len(numbers)}] = {{"]
    for i in range(0, len(numbers), a_line):
        lines.append("  " + ", ".join(f"0x{n:0{digits}X}" for n in numbers[i:i + a_line]) + ",")
    return "\n".join(lines) + "\n};\n"


def main():
    three, eight = [8, 25, 43], {"IQ3_XXS": [4, 12, 20, 28, 36, 44, 52, 62], "IQ3_S": [1, 3, 5, 7, 9, 11, 13, 15]}
    text = HEAD
    text += table("uint8_t", "iq_signs", list(quants.IQ2_XXS.ksigns), 2)
    text += table("uint64_t", "iq2_xxs_grid", bytes_of(grid_of("IQ2_XXS")), 16)
    text += table("uint16_t", "iq2_xxs_codes", codes_of(grid_of("IQ2_XXS"), three, 2), 4)
    text += table("uint16_t", "iq2_xs_grid", codes_of(grid_of("IQ2_XS"), three, 2), 4)
    text += table("uint16_t", "iq2_s_grid", codes_of(grid_of("IQ2_S"), three, 2), 4)
    for name, values in eight.items():
        text += table("uint16_t", name.lower() + "_grid", codes_of(grid_of(name), values, 4), 4)
    text += table("uint16_t", "iq1_grid", codes_of(grid_of("IQ1_S"), [-1, 0, 1], 2), 4)
    with open(PATH, "w", encoding="ascii") as file:
        file.write(text)


main()
