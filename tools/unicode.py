"""Writes csrc/text/unicode_table.c: the character classes of the pre-tokenizer, Unicode 16.0.

    pip install unicodedata2==16.0.0 && python3 tools/unicode.py

With `tokenizers` installed too, `--check` compares every code point with what the reference tokenizer's
regular expressions match. Nothing is written then.
"""
import sys

import unicodedata2

VERSION = "16.0.0"
SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
OTHER, LETTER, NUMBER, PUNCTUATION, WHITE = range(5)
NAMES = ["OTHER", "LETTER", "NUMBER", "PUNCTUATION", "SPACE"]
BY_CATEGORY = {"L": LETTER, "M": LETTER, "N": NUMBER, "P": PUNCTUATION, "S": PUNCTUATION}
PATTERNS = {LETTER: r"[\p{L}\p{M}]", NUMBER: r"\p{N}", PUNCTUATION: r"[\p{P}\p{S}]", WHITE: r"\s"}
PATH = "csrc/text/unicode_table.c"


def class_of(code):
    if code in SPACE:
        return WHITE
    return BY_CATEGORY.get(unicodedata2.category(chr(code))[0], OTHER)


def ranges():
    """(first code point, class), one where the class changes."""
    last = None
    for code in range(0x110000):
        kind = class_of(code)
        if kind != last:
            yield code, kind
        last = kind


def check():
    from tokenizers import Regex, pre_tokenizers
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    wrong = 0
    for kind, pattern in PATTERNS.items():
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        kept = set()
        for start in range(0, len(characters), 20000):
            for piece, _ in split.pre_tokenize_str("".join(characters[start:start + 20000])):
                kept |= set(piece)
        differing = [c for c in characters if (c not in kept) != (class_of(ord(c)) == kind)]
        wrong += len(differing)
        print(f"{NAMES[kind]}: {len(characters) - len(kept)} characters, {len(differing)} differ")
    sys.exit(wrong != 0)


def rows(values, width):
    return "\n".join("  " + " ".join(values[i:i + width]) for i in range(0, len(values), width))


def write():
    found = list(ranges())
    ascii_rows = rows([f"{class_of(code)}," for code in range(128)], 32)
    range_rows = rows([f"0x{code << 3 | kind:X}," for code, kind in found], 10)
    with open(PATH, "w", encoding="utf-8") as out:
        out.write(f"""/* Character classes of Unicode {VERSION}. Written by tools/unicode.py: change that, not this. */
#include "unicode.h"

const unsigned char unicode_ascii[128] = {{
{ascii_rows}
}};

const size_t unicode_range_count = {len(found)};

/* First code point of a range * 8 + its class, ascending. */
const uint32_t unicode_ranges[] = {{
{range_rows}
}};
""")


if unicodedata2.unidata_version != VERSION:
    sys.exit(f"unicodedata2 is of Unicode {unicodedata2.unidata_version}, {VERSION} is needed")
check() if "--check" in sys.argv[1:] else write()
