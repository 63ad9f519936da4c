"""Training sequences: lines of generate.lua -> token ids and label weights."""
import os
import random
import subprocess

import numpy as np
import torch
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TASKS = ["needle", "assoc", "add", "mul", "tool", "json", "mixed", "echo", "mail", "effort", "result"]
PAD = 2


class Stream:
    """Endless sequences of one stage."""

    def __init__(self, stage, seed, gap, held_out=False, lua="luajit"):
        self.tok = Tokenizer.from_file(os.path.join(HERE, "tokenizer.json"))
        self.rng = random.Random(seed)
        self.gap = gap
        self.proc = subprocess.Popen([lua, os.path.join(HERE, "generate.lua"), str(stage), str(seed)]
                                     + (["held_out"] if held_out else []), stdout=subprocess.PIPE)

    def close(self):
        self.proc.kill()
        self.proc.wait()

    def line(self):
        """task, ids, weights: weight of predicting each id (0 = given, 3 = looked up)."""
        task, *pieces = self.proc.stdout.readline().decode().rstrip("\n").split("\t")
        text, w = [], []
        for p in pieces:
            kind, t = p[0], p[1:].replace("\1", "\n")
            text.append(t)
            if kind == "v":
                v = np.full(len(t), 3, np.float32)
                if t[0].isdigit():              # the other digits follow from the first
                    v[1:] = 1
                w.append(v)
            else:
                w.append(np.full(len(t), kind in "aC", np.float32))
        e = self.tok.encode("".join(text), add_special_tokens=False)
        w = np.concatenate(w)
        at = np.array(e.offsets, np.int64)
        return task, np.array(e.ids, np.int64), np.maximum.reduceat(np.append(w, 0), at[:, 0])

    def batch(self, B, T):
        """tokens [B,T], weights [B,T] of predicting them, row shift [B*T/4], task numbers [B], looked-up mask."""
        tokens, weight = np.full((B, T), PAD, np.int64), np.zeros((B, T), np.float32)
        mark, gap = np.zeros((B, T), bool), np.zeros((B, T // 4), np.int64)
        tasks = []
        for b in range(B):
            task, ids, w = self.line()
            ids, w = ids[:T], w[:T]
            tokens[b, :len(ids)] = ids
            mark[b, :len(ids)] = w == 3
            weight[b, :len(ids)] = w / max(1.0, w.sum() / 32) ** 0.5
            tasks.append(TASKS.index(task))
            if task == "needle" and self.rng.random() < self.gap:
                for _ in range(self.rng.randint(1, 3)):
                    gap[b, :self.rng.randrange(T // 4)] += int(2 ** self.rng.uniform(5, 16.5))
        return (torch.from_numpy(tokens), torch.from_numpy(weight), torch.from_numpy(gap.reshape(-1)),
                tasks, torch.from_numpy(mark))
