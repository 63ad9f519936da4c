"""Train the pocket model on two processes of one thread each.

usage: train.py [--minutes 80] [--seed 1]                 run it again to go on from build/state.pt
       train.py --after 106 --minutes 126 [--seed 1]      from a state of 106 minutes, one more pass over the finish

The schedule runs on training time: PLAN gives the share of the minutes of every stage (stages.lua says what it draws).
Each step is a number of micro-batches of equal size; whichever process is free takes the next one.
"""
import argparse
import json
import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "build")
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(BUILD, "inductor"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Keep freed memory in the process: returning it to the system after every operator costs half of the time.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 40))
os.environ.setdefault("MALLOC_TOP_PAD_", str(1 << 26))

import torch
import torch.multiprocessing as mp

import indexer
import model as M
import network as N
from data import TASKS, Stream
from optimiser import Optimiser

# stage: (share of the minutes, sequence length, tokens per micro-batch, micro-batches per step)
PLAN = {1: (0.015, 64, 1024, 2), 2: (0.045, 128, 1024, 4), 3: (0.25, 256, 1024, 6), 4: (0.19, 512, 1024, 6),
        5: (0.27, 1024, 1024, 8), 6: (0.15, 512, 1024, 6), 7: (0.045, 1024, 1024, 8), 8: (0.035, 2048, 2048, 4)}
FINISH = 6                       # first stage of the sparse finish
CONSTANT = 0.45                  # the learning rate is constant up to here, then linear to 3 % at the finish
RANKS = 2


def bounds():
    out, at = {}, 0.0
    for s, row in PLAN.items():
        out[s] = (at, at + row[0])
        at += row[0]
    return out


def progress(minutes, o):
    """The share of the plan that is done; a further pass (--after) is its finish alone."""
    if o.after is None:
        return minutes / o.minutes
    start = bounds()[FINISH][0]
    return start + (1.0 - start) * (minutes - o.after) / (o.minutes - o.after)


def rates(f, since):
    """Learning rates of Muon and AdamW at progress f; since = steps since the (re)start of the optimiser."""
    b = bounds()
    start = b[FINISH][0]
    warm = min(1.0, (since + 1) / 30)
    if f < start:
        k = 1.0 if f < CONSTANT else 1.0 - 0.97 * (f - CONSTANT) / (start - CONSTANT)
        return 0.02 * k * warm, 3e-3 * k * warm
    k = 1.0 - 0.97 * min(1.0, (f - start) / (1.0 - start))
    return 0.008 * k * warm, 1.5e-3 * k * warm


def views(flat, shapes):
    out, at = {}, 0
    for k, s in shapes.items():
        n = s.numel()
        out[k] = flat[at:at + n].view(s)
        at += n
    return out


def answer_positions(weight):
    at = (weight.flatten() > 0).nonzero().flatten()
    return at[at > 0]


def micro_batch(P, shape, bias, table, ops, stream, T, n, select, finish_dense, narrow):
    """Forward and backward of one micro-batch; returns weight, loss, expert loads and per-task counts."""
    tokens, weight, gap, tasks, mark = stream.batch(n // T, T)
    # Lookups also practise with short windows, else pooled rows stay unused until documents are long.
    windows = [M.SHAPE["sliding_window"] >> stream.rng.randint(0, 3) if narrow and TASKS[t] in ("needle", "assoc") else
               M.SHAPE["sliding_window"] for t in tasks]
    batch = N.Batch(tokens, T, gap, windows)
    keep = [] if finish_dense else None
    X, m, loads = N.forward(P, shape, bias, table, batch, ops, select=select, keep=keep)
    at = answer_positions(weight)
    y, w = batch.tokens[at], weight.flatten()[at]
    lg = N.logits(P, X, m, at - 1)
    loss = (torch.nn.functional.cross_entropy(lg, y, reduction="none") * w).sum()
    total = loss
    if finish_dense:
        total = total + w.sum() * indexer.kl_loss(P, shape, keep, batch, at - 1)
    total.backward()
    ok = (lg.argmax(1) == y).double()
    task = torch.tensor(tasks)[at // T]
    mk = mark.flatten()[at].double()
    counts = torch.zeros(len(TASKS), 4, dtype=torch.float64)
    for i, v in enumerate((torch.ones_like(ok), ok, mk, mk * ok)):
        counts[:, i].index_add_(0, task, v)
    return w.sum().item(), loss.item(), loads, counts


def calibrate(P, shape, bias, table, ops, seed):
    """Mean input and head lengths at answer positions, for the copy of the main attention into the indexer."""
    stream, sums = Stream(4, seed + 99, 0.0), {}
    with torch.no_grad():
        for _ in range(8):
            tokens, weight, gap, tasks, _ = stream.batch(2, 512)
            batch, keep = N.Batch(tokens, 512), []
            N.forward(P, shape, bias, table, batch, ops, keep=keep)
            at = answer_positions(weight) - 1
            for l, (q, c, rows, u, qr) in enumerate(keep):
                if shape["compress_ratios"][l] == 4:
                    raw = M.lin(qr[at], P[f"layers.{l}.attn.wq_b.weight"]).float().view(len(at), M.H, M.D)
                    s = sums.setdefault(l, [0, 0, 0])
                    s[0] += u[at].float().sum(0)
                    s[1] += raw.norm(dim=2).sum(0)
                    s[2] += len(at)
    stream.close()
    indexer.copy_main(P, shape, {l: (a / n, b / n) for l, (a, b, n) in sums.items()})


def worker(rank, flat, grads, shapes, bias, table, loads, counts, control, lock, barrier, o, state):
    os.nice(19 - os.nice(0))
    torch.set_num_threads(1)
    torch.manual_seed(o.seed * 1000 + rank + state["step"] * 7)
    shape = M.SHAPE
    P = {k: v.detach().requires_grad_(True) for k, v in views(flat, shapes).items()}
    G = [views(g, shapes) for g in grads]
    for k in P:
        P[k].grad = G[rank][k]
    ops = N.Ops(True)
    step, tokens, elapsed = state["step"], state["tokens"], state["elapsed"]
    stage, stream, since, opt, copied = 0, None, 0, None, state["copied"]
    last_log = last_save = time.time()
    tick, logged = time.time(), tokens
    while True:
        # --- rank 0 fixes stage and time for both
        if rank == 0:
            now = time.time()
            elapsed += min(now - tick, 60)           # a suspended machine does not count
            tick = now
            control[2] = elapsed
        barrier.wait()
        elapsed_now = control[2].item()
        f = progress(elapsed_now / 60, o)
        if f >= 1.0:
            break
        new = max(s for s, (a, _) in bounds().items() if f >= a)
        if new != stage:
            if rank == 0 and stage == 2:
                indexer.copy_window(P, shape)
            stage = new
            share, T, n, count = PLAN[stage]
            if stream:
                stream.close()
            seed = o.seed * 100000 + stage * 1000 + rank + 10 * (step % 97)
            stream = Stream(stage, seed, 0.4 if stage >= FINISH else 0.3)
            if opt is None or stage == FINISH:
                opt, since = Optimiser(P, G, rank, RANKS), 0
            if stage >= FINISH and not copied:
                if rank == 0:
                    calibrate(P, shape, bias, table, ops, o.seed)
                copied = True
        # --- gradients
        grads[rank].zero_()
        if rank == 0:
            control[0] = 0
            control[1] = 0
            loads.zero_()
        barrier.wait()
        sparse = stage >= FINISH and step % 2 == 1
        select = (lambda l, u, qr, b: indexer.select(P, shape["index_topk"], l, u, qr, b)) if sparse else None
        while True:
            with lock:
                mine = int(control[0]) < count
                control[0] += 1
            if not mine:
                break
            w, loss, ld, cn = micro_batch(P, shape, bias, table, ops, stream, T, n, select,
                                          stage >= FINISH and not sparse, stage < 5)
            with lock:
                control[1] += w
                loads += ld
                counts[int(sparse)] += cn
                control[3] += loss
                control[4] += w
        barrier.wait()
        # --- update
        lr, adam_lr = rates(f, since)
        active = (lambda k: True) if stage >= FINISH and not sparse else (lambda k: ".indexer." not in k)
        opt.step(lr, adam_lr, 1.0 / control[1].item(), active)
        if rank == 0:
            mean = loads.double().mean(1, keepdim=True)
            delta = 0.002 * torch.sign(mean - loads.double()).float()
            delta[:shape["num_hash_layers"]] = 0
            bias += delta
        step, since, tokens = step + 1, since + 1, tokens + n * count
        barrier.wait()
        if rank:
            continue
        now = time.time()
        if now - last_save > o.save or progress((elapsed + 5) / 60, o) >= 1:
            save(flat, bias, step, tokens, elapsed, copied, o)
            last_save = now
        if now - last_log > o.log:
            c = counts.clone()
            rows = []
            for d, name in ((0, ""), (1, "/16")):
                for i, t in enumerate(TASKS):
                    if c[d, i, 0] > 0:
                        rows.append(f"{t}{name} {c[d, i, 1] / c[d, i, 0]:.3f}/{c[d, i, 3] / max(1, c[d, i, 2]):.3f}")
            line = (f"{time.strftime('%H:%M:%S')} f {f:.3f} stage {stage} step {step} tok {tokens / 1e6:.2f}M "
                    f"{(tokens - logged) / (now - last_log):.0f}/s lr {lr:.4f} "
                    f"loss {control[3] / control[4]:.4f} | " + " ".join(rows))
            with open(os.path.join(BUILD, "train.log"), "a") as log:
                log.write(line + "\n")
            print(line, flush=True)
            counts.zero_()
            control[3:] = 0
            last_log, logged = now, tokens
    if rank == 0:
        save(flat, bias, step, tokens, elapsed, copied, o)
    stream.close()


def save(flat, bias, step, tokens, elapsed, copied, o):
    path = os.path.join(BUILD, "state.pt")
    state = dict(flat=flat, bias=bias, step=step, tokens=tokens, elapsed=elapsed, copied=copied, seed=o.seed)
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=80)
    ap.add_argument("--after", type=float)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--log", type=float, default=30)
    ap.add_argument("--save", type=float, default=240)
    o = ap.parse_args()
    vocab = len(json.load(open(os.path.join(HERE, "tokenizer.json")))["model"]["vocab"])
    P, table = M.init(M.SHAPE, vocab, o.seed)
    M.add_indexer(P, M.SHAPE)
    shapes = {k: v.shape for k, v in P.items()}
    flat = torch.cat([v.flatten() for v in P.values()]).share_memory_()
    bias = torch.zeros(M.SHAPE["num_hidden_layers"], M.SHAPE["n_routed_experts"]).share_memory_()
    state = dict(step=0, tokens=0, elapsed=0.0, copied=False)
    path = os.path.join(BUILD, "state.pt")
    if os.path.exists(path):
        s = torch.load(path)
        flat.copy_(s["flat"])
        bias.copy_(s["bias"])
        state = {k: s[k] for k in state}
    grads = [torch.zeros_like(flat).share_memory_() for _ in range(RANKS)]
    loads = torch.zeros(bias.shape, dtype=torch.int64).share_memory_()
    counts = torch.zeros(2, len(TASKS), 4, dtype=torch.float64).share_memory_()
    # next micro-batch, weight of the step, seconds; loss and weight since the last log line
    control = torch.zeros(5, dtype=torch.float64).share_memory_()
    ctx = mp.get_context("spawn")
    args = (flat, grads, shapes, bias, table, loads, counts, control, ctx.Lock(), ctx.Barrier(RANKS), o, state)
    procs = [ctx.Process(target=worker, args=(r, *args)) for r in range(RANKS)]
    for p in procs:
        p.start()
    for p in procs:
        p.join()


if __name__ == "__main__":
    main()
