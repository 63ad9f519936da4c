"""Write tokenizer.json: byte-level BPE with V4's splitting rules, one token per digit and per word of the tasks.

usage: make_tokenizer.py OFFICIAL_TOKENIZER_JSON LUA
The official file gives the normalizer, pre_tokenizer, decoder and post_processor sections and the control tokens.
"""
import json
import os
import re
import subprocess
import sys

from tokenizers import Tokenizer, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CONTROL = [
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>",
    "｜DSML｜", "<｜latest_reminder｜>", "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>",
    "<｜read_url｜>", "<｜extracted_url｜>"]
LIMIT = 1536


def sample(lua, stage, lines):
    p = subprocess.Popen([lua, os.path.join(HERE, "generate.lua"), str(stage), "77"], stdout=subprocess.PIPE)
    for _ in range(lines):
        pieces = p.stdout.readline().decode().rstrip("\n").split("\t")[1:]
        text = ""
        for piece in pieces + ["c"]:
            if piece[0] in "cC":
                yield from re.split("[0-9]+", text)
                text = ""
            else:
                text += piece[1:].replace("\1", "\n")
    p.kill()


def main(official, lua):
    base = json.load(open(official))
    words = open(os.path.join(HERE, "words.lua")).read()
    words = [w for block in re.findall(r'\[\[(.*?)\]\]|list "(.*?)"', words, re.S) for w in " ".join(block).split()]
    corpus = [t for w in words for t in (w, " " + w) for _ in range(60)]
    corpus += [t for s, n in ((3, 400), (4, 500)) for t in sample(lua, s, n)]
    # words of the templates, once more in both forms
    extra = sorted({w for t in corpus for w in re.findall("[A-Za-z]+", t)} - set(words))
    corpus += [t for w in extra for t in (w, " " + w) for _ in range(8)]
    blank = json.loads(json.dumps(base))
    blank["model"].update(vocab={}, merges=[])
    blank["added_tokens"] = []
    tok = Tokenizer.from_str(json.dumps(blank))
    tok.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=LIMIT - len(CONTROL), show_progress=False, min_frequency=4, special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    learnt = json.loads(tok.to_str())["model"]
    out = blank
    ids = sorted(learnt["vocab"], key=learnt["vocab"].get)
    out["model"]["vocab"] = {t: i for i, t in enumerate(CONTROL + ids)}
    out["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in learnt["merges"]]
    flags = {a["content"]: a for a in base["added_tokens"]}
    out["added_tokens"] = [{**flags[c], "id": i} for i, c in enumerate(CONTROL)]
    path = os.path.join(HERE, "tokenizer.json")
    with open(path, "w") as f:
        json.dump(out, f, ensure_ascii=False, indent=1)
        f.write("\n")
    tok = Tokenizer.from_file(path)
    split = [t for w in words for t in (w, " " + w) if len(tok.encode(t).ids) != 1]
    rest = [t for w in extra for t in (w,) if len(tok.encode(t).ids) != 1 and len(tok.encode(" " + t).ids) != 1]
    assert not split, split
    assert len(tok.encode("4821").ids) == 4 and tok.encode("<think>").ids == [5]
    print(tok.get_vocab_size(), "tokens;", len(words), "words; template words in pieces:", rest)


main(*sys.argv[1:])
