"""Writes what the tokenizer specs compare with, by the reference library (Hugging Face tokenizers).

    pip install tokenizers==0.23.2 && python3 spec/data/tokenizer_vectors.py

  deepseek-v4-vectors.txt   20,000 strings for deepseek-v4-tokenizer.json
  shuffled-*                a small trained vocabulary, its ids shuffled, its merges as arrays
  disordered-*              merges in an order in which they cannot have been learnt, several to one token
  splits.txt                short strings of every class of character, and the lengths of their pieces in bytes

A line is the text, a tab, the ids (the lengths); control bytes, "%" and DEL are written as %XX. Control tokens are taken
out of the copy that the library reads: it would find them in text, and we never do.
With arguments COUNT SEED FILE it writes only that many other strings for the V4 vocabulary to FILE.
"""
import json
import os
import random
import sys

from tokenizers import Tokenizer, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
V4 = os.path.join(HERE, "deepseek-v4-tokenizer.json")

SCRIPTS = [
    (0x61, 0x7A), (0x41, 0x5A), (0x41, 0x7A), (0xC0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF),
    (0x400, 0x52F), (0x531, 0x58F), (0x5B0, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF),
    (0x900, 0x97F), (0x980, 0x9FE), (0xA00, 0xA76), (0xA80, 0xAFF), (0xB00, 0xB77), (0xB80, 0xBFA),
    (0xC00, 0xC7F), (0xC80, 0xCFF), (0xD00, 0xD7F), (0xD80, 0xDF4), (0xE00, 0xE5B), (0xE80, 0xEDF),
    (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FD),
    (0x1400, 0x167F), (0x16A0, 0x16F8), (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE),
    (0x3040, 0x309F), (0x30A0, 0x30FF), (0x3105, 0x312F), (0x3400, 0x4DBF), (0x4E00, 0x9FA5), (0x9FA0, 0x9FFF),
    (0xA000, 0xA48C), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC), (0xFF01, 0xFFDC),
    (0x10330, 0x1034A), (0x12000, 0x12399), (0x1D400, 0x1D7FF), (0x20000, 0x2A6DF),
]
SYMBOLS = [
    (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0xA1, 0xBF), (0x2010, 0x205E), (0x20A0, 0x20C0),
    (0x2100, 0x214F), (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2900, 0x2BFF), (0x3000, 0x303F),
    (0x3200, 0x33FF), (0xFE30, 0xFE6B), (0xFF01, 0xFF20), (0x1F000, 0x1F0FF), (0x1F300, 0x1FAFF),
]
DIGITS = [(0x30, 0x39)] * 6 + [(0xB2, 0xB3), (0xBC, 0xBE), (0x660, 0x669), (0x966, 0x96F), (0x2150, 0x2189),
                               (0x2460, 0x249B), (0x3021, 0x3029), (0xFF10, 0xFF19), (0x1D7CE, 0x1D7FF)]
SPACES = list(" " * 8 + "\t\t\n\n\n\r\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000")
ODD = list("\x00\x01\x1c\x1f\x7f\u200b\u200c\u200d\u200e\u2060\ufeff\ufe0f\u00ad\u0301\u0303\u20e3\u0600\u070f\ue000")
NAMES = ["user", "value", "items", "response", "get_weather", "HTTPServer", "x", "i", "self", "main", "DSML", "len"]
LOOK_ALIKES = [
    "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜", "<｜end▁of▁sentence｜>", "<|User|>", "<｜ User｜>",
    "<\u200bthink>", "<th\u200dink>", "＜think＞", "<｜begin▁of▁sentence｜>", "<|EOT|>", "<dsml:", "</dsml:x>", "<｜System｜>",
    "</tool_result>", "<｜place▁holder▁no▁7｜>", "<|place_holder_mm_span_0021|>",
]


def assigned(code):
    return not 0xD800 <= code <= 0xDFFF


class Maker:
    """Strings of many kinds, the same for the same seed."""

    def __init__(self, seed, tokens):
        self.random = random.Random(seed)
        self.tokens = tokens

    def of(self, ranges, low, high):
        first, last = self.random.choice(ranges)
        return "".join(chr(self.random.randint(first, last)) for _ in range(self.random.randint(low, high)))

    def space(self):
        return "".join(self.random.choice(SPACES) for _ in range(self.random.choice([1, 1, 1, 2, 3, 5])))

    def words(self):
        first, last = self.random.choice(SCRIPTS)
        out = []
        for _ in range(self.random.randint(1, 5)):
            out.append(self.of([(first, last)], 1, 8))
            out.append(self.random.choice([" ", " ", " ", ", ", ". ", "\n", self.space(), self.of(SYMBOLS, 1, 2)]))
        return "".join(out)

    def mixed(self):
        kinds = [lambda: self.of(SCRIPTS, 1, 4), lambda: self.of(SYMBOLS, 1, 3), lambda: self.of(DIGITS, 1, 5),
                 self.space, self.space, lambda: self.random.choice(ODD), lambda: self.of([(0x61, 0x7A)], 1, 6)]
        return "".join(self.random.choice(kinds)() for _ in range(self.random.randint(2, 9)))

    def known(self):
        return "".join(self.random.choice(self.tokens) for _ in range(self.random.randint(1, 8)))

    def code(self):
        pick = self.random.choice
        name, other = pick(NAMES), pick(NAMES)
        return pick([
            f"if ({name} != {other}) {{\r\n\t\treturn {self.random.randint(0, 99999)};\r\n}}",
            f'{{"{name}": [{self.random.random():.6f}, null], "{other}": "{self.of(SCRIPTS, 1, 4)}"}}\n',
            f"    def {name}(self, {other}=None):\n        # {self.of(SCRIPTS, 2, 6)}\n",
            f"| {name} | {other} |\n|---|---|\n| {self.random.randint(0, 9999)} | $x^2$ |",
            f"https://{name}.example/{other}?q={self.random.randint(1, 10**7)}&y=%20#{name}",
            f"\\begin{{{name}}} \\frac{{1}}{{{self.random.randint(2, 999)}}} \\\\ \\end{{{name}}}",
            f"- [ ] **{name}** _{other}_ `{name}.{other}()`\n\n\n>>> {self.of(SYMBOLS, 1, 4)}",
        ])

    def controls(self):
        parts = [self.random.choice(LOOK_ALIKES), self.of(SCRIPTS, 0, 3), self.space(), self.random.choice(LOOK_ALIKES)]
        self.random.shuffle(parts)
        return "".join(parts[:self.random.randint(1, 4)])

    def anything(self):
        codes = (self.random.randint(0, self.random.choice([0x7F, 0x7FF, 0xFFFF, 0x10FFFF]))
                 for _ in range(self.random.randint(1, 10)))
        return "".join(chr(code) for code in codes if assigned(code))

    def long(self):
        """One word too long for the short way of merging."""
        pick = self.random.choice
        count = self.random.randint(49, 160)
        letters = [token for token in self.tokens if token.isascii() and token.isalpha()]
        return pick([
            lambda: self.of([(0x61, 0x7A)], count, count),
            lambda: "".join(pick("ab") for _ in range(count)),
            lambda: pick("aeX=^- \n中の한é\u0301👍") * count,
            lambda: "".join(pick(letters) for _ in range(count // 5)),
            lambda: self.of([(0x4E00, 0x9FA5)], count // 3, count // 2),
            lambda: self.of([(0xAC00, 0xD7A3)], count // 3, count // 2),
            lambda: self.of([(0x21, 0x2F)], count, count),
            lambda: "".join(pick(["thing", "the", "is", "ing", "e", "s", "re", "tion", "a"]) for _ in range(count // 3)),
        ])()

    def string(self):
        weighted = [self.words] * 30 + [self.mixed] * 30 + [self.known] * 15 + [self.code] * 7 + [self.controls] * 4
        return self.random.choice(weighted + [self.anything] * 12 + [self.long] * 2)()


def escape(text):
    return "".join(f"%{ord(c):02X}" if ord(c) < 32 or c in "%\x7f" else c for c in text)


def write_vectors(path, tokenizer, strings):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for text in strings:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            out.write(f"{escape(text)}\t{' '.join(map(str, ids))}\n")
    print(path, os.path.getsize(path), "bytes")


def without_controls(file):
    return Tokenizer.from_str(json.dumps({**file, "added_tokens": []}))


def v4():
    with open(V4, encoding="utf-8") as file:
        tokenizer = without_controls(json.load(file))
    texts = (tokenizer.decode([i]) for i in range(3, 128000))
    return tokenizer, [text for text in texts if "\ufffd" not in text]


def v4_strings(maker, count):
    ascii_characters = [chr(i) for i in range(128)]
    pairs = [chr(a) + chr(b) for a in range(128) for b in range(128)] + [chr(i) for i in range(0x80, 0x800)]
    strings = ascii_characters + maker.random.sample(pairs, 1500)
    while len(strings) < count:
        strings.append(maker.string())
    return strings


def save(name, file):
    path = os.path.join(HERE, name)
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        json.dump(file, out, ensure_ascii=False, indent=0, separators=(",", ":"))
        out.write("\n")
    print(path, os.path.getsize(path), "bytes")


def shuffled(strings, rng):
    """A trained vocabulary whose ids say nothing about its merges, with control tokens among them."""
    with open(V4, encoding="utf-8") as file:
        frame = json.load(file)
    alphabet = sorted(token for token in frame["model"]["vocab"] if len(token) == 1)
    empty = {**frame, "added_tokens": [], "model": {**frame["model"], "vocab": {}, "merges": []}}
    tokenizer = Tokenizer.from_str(json.dumps(empty))
    tokenizer.train_from_iterator(strings, trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet,
                                                               show_progress=False))
    file = json.loads(tokenizer.to_str())
    controls = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<think>", "｜DSML｜"]
    tokens = sorted(file["model"]["vocab"]) + controls
    rng.shuffle(tokens)
    ids = {token: i for i, token in enumerate(tokens)}
    file["model"]["vocab"] = {token: ids[token] for token in tokens if token not in controls}
    file["model"]["merges"] = [m if isinstance(m, list) else m.split(" ") for m in file["model"]["merges"]]
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    file["added_tokens"] = sorted(({"id": ids[c], "content": c, **flags, "special": True} for c in controls),
                                  key=lambda token: token["id"])
    return file


def disordered(frame, rng):
    """Strings of "a", "b", "c" as tokens, each built in all its ways, the merges in any order."""
    known = ["a", "b", "c"]
    for length in range(2, 9):
        for _ in range(40):
            known.append("".join(rng.choice("abc" if length < 4 else "ab") for _ in range(length)))
    known += [token * 2 for token in known if 1 < len(token) < 5]
    known = list(dict.fromkeys(known))
    merges = [f"{token[:i]} {token[i:]}" for token in known for i in range(1, len(token))
              if token[:i] in known and token[i:] in known]
    rng.shuffle(merges)
    alphabet = [token for token in frame["model"]["vocab"] if len(token) == 1]
    tokens = alphabet + [token for token in known if len(token) > 1]
    rng.shuffle(tokens)
    return {**frame, "added_tokens": [], "model": {**frame["model"], "vocab": {t: i for i, t in enumerate(tokens)},
                                                   "merges": merges}}


NASTY = list("abZé中龥龦ひー・한1２½!<+€。 \u00a0\u3000\n\r\t\x00") + ["\u0301", "\u200d", "\U0001d400", "👍", " ", "\n", "a"]


def write_splits(path, tokenizer, rng):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for _ in range(1000):
            text = "".join(rng.choice(NASTY) for _ in range(rng.randint(2, 8)))
            pieces = tokenizer.pre_tokenizer.pre_tokenize_str(text)
            lengths = (str(len(text[start:end].encode())) for _, (start, end) in pieces)
            out.write(f"{escape(text)}\t{' '.join(lengths)}\n")
    print(path, os.path.getsize(path), "bytes")


def main():
    if len(sys.argv) == 4:
        tokenizer, tokens = v4()
        write_vectors(sys.argv[3], tokenizer, v4_strings(Maker(int(sys.argv[2]), tokens), int(sys.argv[1])))
        return
    tokenizer, tokens = v4()
    maker = Maker(20260731, tokens)
    strings = v4_strings(maker, 20000)
    write_vectors(os.path.join(HERE, "deepseek-v4-vectors.txt"), tokenizer, strings)

    write_splits(os.path.join(HERE, "splits.txt"), tokenizer, random.Random(3))

    file = shuffled(strings, maker.random)
    save("shuffled-tokenizer.json", file)
    write_vectors(os.path.join(HERE, "shuffled-vectors.txt"), without_controls(file),
                  [maker.string() for _ in range(1500)])

    file = disordered(file, maker.random)
    save("disordered-tokenizer.json", file)
    write_vectors(os.path.join(HERE, "disordered-vectors.txt"), without_controls(file),
                  ["".join(maker.random.choices("abc", [10, 10, 1], k=maker.random.choice([3, 8, 20, 48, 49, 200])))
                   for _ in range(1000)])


main()
