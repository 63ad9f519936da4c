"""Exact-answer accuracy on held-out items, teacher forced: an answer that is right here is right in greedy decoding.

usage: accuracy.py [--n 50] [--seed 1] [--case WORDS] [--dense] [--raw] [--state build/state.pt] [--lua luajit]
Weights are rounded as in the exported file (--raw: not), top-16 selection is on (--dense: off); bfloat16 arithmetic.
"""
import argparse
import os
import subprocess

import numpy as np
import torch

import export
import indexer
import model as M
import network as N
from export import numfmt
from data import HERE, Stream


def rounded(P):
    """The weights as the file holds them, in the trainer's layout."""
    out = {}
    for k, w in P.items():
        w = np.ascontiguousarray(w.numpy())
        if k.endswith(("experts.w13", "experts.w2")):
            w = np.stack([numfmt.dequant_fp4_weight(*numfmt.quant_fp4_weight(np.ascontiguousarray(x))) for x in w])
        elif export.fp8(k):
            w = numfmt.dequant_fp8_weight(*numfmt.quant_fp8_weight(w))
        elif "hc_" not in k and not k.endswith(("ape", "attn_sink")):
            w = numfmt.bf16(w)
        out[k] = torch.from_numpy(np.ascontiguousarray(w))
    return out


def items(n, seed, case, lua):
    """(case, ids, list of (first, last) answer positions) of every item."""
    s = Stream.__new__(Stream)
    from tokenizers import Tokenizer
    s.tok = Tokenizer.from_file(os.path.join(HERE, "tokenizer.json"))
    s.proc = subprocess.Popen([lua, os.path.join(HERE, "cases.lua"), str(n), str(seed), case], stdout=subprocess.PIPE)
    while s.proc.stdout.peek(1):
        name, ids, w = s.line()
        edge = np.flatnonzero(np.diff(np.concatenate([[0], (w > 0).astype(int), [0]])))
        # a span that holds several end tokens is several turns
        yield name, ids, list(zip(edge[::2], edge[1::2]))


def report(got):
    name, (ok, n) = list(got.items())[-1]
    print(f"{name:32s} {ok / n:6.3f} {n:5d}", flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--n", type=int, default=50)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--case", default="")
    ap.add_argument("--dense", action="store_true")
    ap.add_argument("--raw", action="store_true")
    ap.add_argument("--longest", type=int, default=20000)
    ap.add_argument("--state", default=os.path.join(HERE, "build", "state.pt"))
    ap.add_argument("--lua", default="luajit")
    o = ap.parse_args()
    torch.set_num_threads(1)
    P, table, bias, s, _ = export.load(o.state)
    if not o.raw:
        P = rounded(P)
    ops = N.Ops(True)
    for p in ("mix_of", "project", "project_pooled", "output", "route", "finish"):
        setattr(ops, p, getattr(M, p))             # lengths differ: nothing to compile for
    select = None if o.dense else (lambda l, u, qr, b: indexer.select(P, M.SHAPE["index_topk"], l, u, qr, b))
    print(f"step {s['step']}, {s['tokens'] / 1e6:.1f} M tokens")
    got = {}
    for name, ids, spans in items(o.n, o.seed, o.case, o.lua):
        T = -(-len(ids) // 128) * 128
        if T > o.longest or got.get(name, [0, 0])[1] >= o.n:
            continue
        if got and name not in got:
            report(got)
        tokens = torch.full((T,), 2)
        tokens[:len(ids)] = torch.from_numpy(ids)
        with torch.no_grad():
            X, m, _ = N.forward(P, M.SHAPE, bias, table, N.Batch(tokens, T), ops, select=select)
            for a, b in spans:
                at = torch.arange(a, b)
                ok = bool((N.logits(P, X, m, at - 1).argmax(1) == tokens[at]).all())
                row = got.setdefault(name, [0, 0])
                row[0] += ok
                row[1] += 1
    report(got)


if __name__ == "__main__":
    main()
