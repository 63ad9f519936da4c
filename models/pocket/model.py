"""The pocket model in PyTorch: shape, initial weights, forward pass.

Rotary components are kept as two halves of 32 (first members of the pairs, then second members) because that
vectorises; export.py puts them back into adjacent pairs. Everything else has the release's names and layout,
except that the experts of a layer are one tensor w13 [experts, 2 inner, d] and one w2 [experts, d, inner].
"""
import math

import torch
import torch.nn.functional as F

SHAPE = dict(hidden_size=128, num_hidden_layers=4, compress_ratios=[0, 4, 128, 4], num_attention_heads=4, head_dim=128,
             qk_rope_head_dim=64, q_lora_rank=128, o_groups=2, o_lora_rank=128, sliding_window=128, index_n_heads=4,
             index_head_dim=128, index_topk=16, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=128,
             num_hash_layers=1, routed_scaling_factor=1.5, swiglu_limit=10.0, hc_mult=4, hc_sinkhorn_iters=20,
             hc_eps=1e-6, rms_norm_eps=1e-6)
D, H, RD, NOPE = 128, 4, 64, 64
W = 128                      # model width; equal to the head width here
NEG = -1e30


def frequencies(theta, yarn):
    f = 1.0 / torch.pow(torch.tensor(float(theta)), torch.arange(0, RD, 2, dtype=torch.float32) / RD)
    if yarn:
        corr = lambda rot: RD * math.log(65536 / (rot * 2 * math.pi)) / (2 * math.log(theta))
        low, high = max(math.floor(corr(32)), 0), min(math.ceil(corr(1)), RD - 1)
        ramp = ((torch.arange(RD // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
        f = f / 16 * ramp + f * (1 - ramp)
    return f


FREQ = {0: frequencies(10000, False), 4: frequencies(160000, True), 128: frequencies(160000, True)}


def rotary(positions, ratio):
    a = positions.float()[:, None] * FREQ[ratio][None]
    return torch.cos(a), torch.sin(a)


# ------------------------------------------------------------------------------ initial weights

def init(shape, vocab, seed):
    """Parameters (float32) and the hash table; section "Initialisation" of README.md."""
    g = torch.Generator().manual_seed(seed)
    rn = lambda *s: torch.randn(*s, generator=g)
    d, L = shape["hidden_size"], shape["num_hidden_layers"]
    E, I = shape["n_routed_experts"], shape["moe_intermediate_size"]
    G, R, q = shape["o_groups"], shape["o_lora_rank"], shape["q_lora_rank"]
    lin = lambda o, i, f=1.0: rn(o, i) * (f * i ** -0.5)
    P = {}
    v = rn(d)
    v *= d ** 0.5 / v.norm()
    c = v / v.norm()
    P["embed.weight"] = 0.5 * rn(vocab, d) + 0.5 * v
    for l in range(L):
        p, ratio = f"layers.{l}.", shape["compress_ratios"][l]
        P[p + "attn_norm.weight"], P[p + "ffn_norm.weight"] = torch.ones(d), torch.ones(d)
        for k, s in enumerate(("attn", "ffn")):
            P[p + f"hc_{s}_fn"] = rn(24, 4 * d) * (0.25 / (4 * d)) ** 0.5
            P[p + f"hc_{s}_scale"] = torch.full((3,), 0.1)
            base = torch.zeros(24)
            base[:4] = -2
            base[(2 * l + k) % 4] = 2
            base[8:] = 4 * torch.eye(4).flatten()
            P[p + f"hc_{s}_base"] = base
        a = p + "attn."
        P[a + "attn_sink"] = torch.zeros(H)
        wq_a, wq_b, wkv = lin(q, d), lin(H * D, q), lin(D, d)
        if l == 0:                               # previous-token heads
            wq_a[0] = 2 * c
            wkv[NOPE:] *= 0.1
            for i in range(4):
                wkv[NOPE + i] = c
            f = FREQ[0]
            for h in range(H):
                rows = slice(h * D, (h + 1) * D)
                wq_b[rows] *= 0.15
                for i in range(4):
                    wq_b[h * D + NOPE + i, 0] = 2 * math.cos(-(h + 1) * f[i])
                    wq_b[h * D + NOPE + 32 + i, 0] = 2 * math.sin(-(h + 1) * f[i])
        P[a + "wq_a.weight"], P[a + "wq_b.weight"], P[a + "wkv.weight"] = wq_a, wq_b, wkv
        P[a + "q_norm.weight"], P[a + "kv_norm.weight"] = torch.ones(q), torch.ones(D)
        P[a + "wo_a.weight"] = lin(G * R, H * D // G)
        P[a + "wo_b.weight"] = lin(d, G * R, 0.5)
        if ratio:
            lanes = 2 if ratio == 4 else 1
            P[a + "compressor.wkv.weight"] = lin(lanes * D, d)
            P[a + "compressor.wgate.weight"] = lin(lanes * D, d, 0.5)
            P[a + "compressor.ape"] = torch.zeros(ratio, lanes * D)
            P[a + "compressor.norm.weight"] = torch.ones(D)
        f = p + "ffn."
        P[f + "gate.weight"] = lin(E, d)
        P[f + "experts.w13"] = rn(E, 2 * I, d) * d ** -0.5
        P[f + "experts.w2"] = rn(E, d, I) * (0.5 * I ** -0.5)
        P[f + "shared_experts.w1.weight"], P[f + "shared_experts.w3.weight"] = lin(I, d), lin(I, d)
        P[f + "shared_experts.w2.weight"] = lin(d, I, 0.5)
    P["hc_head_fn"] = rn(4, 4 * d) * (0.25 / (4 * d)) ** 0.5
    P["hc_head_scale"], P["hc_head_base"] = torch.full((1,), 0.1), torch.zeros(4)
    P["norm.weight"], P["head.weight"] = torch.ones(d), lin(vocab, d, 0.5)
    table = torch.stack([torch.randperm(E, generator=g)[:2] for _ in range(vocab)])
    return P, table


def add_indexer(P, shape):
    """Indexer parameters as copies of the main attention; weights_proj is set by the caller."""
    for l, ratio in enumerate(shape["compress_ratios"]):
        if ratio == 4:
            a, b = f"layers.{l}.attn.", f"layers.{l}.attn.indexer."
            P[b + "wq_b.weight"] = P[a + "wq_b.weight"].clone()
            for k in ("wkv.weight", "wgate.weight", "ape", "norm.weight"):
                P[b + "compressor." + k] = P[a + "compressor." + k].clone()
            P[b + "weights_proj.weight"] = torch.full((H, W), 0.05)
    return P


# ------------------------------------------------------------------------------------- pieces

def rms(x, w=None, eps=1e-6):
    y = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)
    return y if w is None else y * w


def turn(x, cos, sin, inverse=False):
    """Rotate the last 64 of the last axis (two halves of 32); cos, sin broadcast against x[..., :32]."""
    n, a, b = x[..., :NOPE], x[..., NOPE:NOPE + 32], x[..., NOPE + 32:]
    if inverse:
        sin = -sin
    return torch.cat([n, a * cos - b * sin, a * sin + b * cos], -1)


def lin(x, w):
    return F.linear(x, w.to(x.dtype))


def mix_of(X, fn):
    v = X.flatten(1)
    m = lin(v, fn).float()
    v = v.float()
    return m * torch.rsqrt((v * v).mean(1, keepdim=True) + 1e-6)


def merge(X, pre, w):
    return rms((pre[:, :, None] * X.float()).sum(1), w).to(X.dtype)


def join(o, X, post, comb, fn):
    """hc_post, and the mixing logits of the next sublayer."""
    Xf = X.float()
    Y = post[:, :, None] * o.float()[:, None]
    Y = Y + sum(comb[:, j, :, None] * Xf[:, j, None] for j in range(4))
    Y = Y.to(X.dtype)
    return Y, mix_of(Y, fn)


def pool(kv, g, ape, norm, ratio, first, rc, rs):
    """Pooled rows of flat tokens [n, lanes D]; first [n/ratio,1]: NEG for the first row of a sequence, else 0."""
    r, w = kv.shape[0] // ratio, norm.shape[0]
    K = kv.float().view(r, ratio, -1)
    S = g.float().view(r, ratio, -1) + ape
    if ratio == 4:
        Kp = F.pad(K[:-1, :, :w], (0, 0, 0, 0, 1, 0))
        Sp = F.pad(S[:-1, :, :w], (0, 0, 0, 0, 1, 0)) + first[:, :, None]
        K, S = torch.cat([Kp, K[..., w:]], 1), torch.cat([Sp, S[..., w:]], 1)
    e = (torch.softmax(S, 1) * K).sum(1)
    return turn(rms(e, norm), rc, rs)


def project(X, pre, nw, wq_a, q_norm, wq_b, wkv, kv_norm, cos, sin):
    u = merge(X, pre, nw)
    a = lin(u, torch.cat([wq_a, wkv]))
    qr = rms(a[:, :128].float(), q_norm).to(u.dtype)
    q = lin(qr, wq_b).view(-1, H, D).float()
    q = turn(rms(q), cos[:, None], sin[:, None]).to(u.dtype)
    c = turn(rms(a[:, 128:].float(), kv_norm), cos, sin).to(u.dtype)
    return q, c, u, qr


def project_pooled(X, pre, nw, wq_a, q_norm, wq_b, wkv, kv_norm, cos, sin,
                   ckv, cgate, ape, cnorm, first, rc, rs, ratio):
    u = merge(X, pre, nw)
    k = ckv.shape[0]
    a = lin(u, torch.cat([wq_a, wkv, ckv, cgate]))
    qr = rms(a[:, :128].float(), q_norm).to(u.dtype)
    q = lin(qr, wq_b).view(-1, H, D).float()
    q = turn(rms(q), cos[:, None], sin[:, None]).to(u.dtype)
    c = turn(rms(a[:, 128:256].float(), kv_norm), cos, sin).to(u.dtype)
    rows = pool(a[:, 256:256 + k], a[:, 256 + k:], ape, cnorm, ratio, first, rc, rs).to(u.dtype)
    return q, c, rows, u, qr


def output(o, X, post, comb, wo_a, wo_b, cos, sin, fn):
    n = o.shape[0]
    z = turn(o.float(), cos[:, None], sin[:, None], True).to(o.dtype).view(n, -1)
    g = z.shape[1] // 2
    z = torch.cat([lin(z[:, :g], wo_a[:W]), lin(z[:, g:], wo_a[W:])], 1)
    return join(lin(z, wo_b), X, post, comb, fn)


def route(X, pre, nw, gate, bias, hashed, w1, w3, w2):
    """Expert ids and weights, and the shared expert. hashed [n,2] or None."""
    u = merge(X, pre, nw)
    sc = torch.sqrt(F.softplus(lin(u, gate).float()))
    ids = torch.topk(sc.detach() + bias, 2, 1).indices if hashed is None else hashed
    w = sc.gather(1, ids)
    w = w / w.sum(1, keepdim=True) * 1.5
    a = lin(u, torch.cat([w1, w3])).float()
    h = F.silu(a[:, :W].clamp(max=10.0)) * a[:, W:].clamp(-10.0, 10.0)
    return u, ids, w, lin(h.to(u.dtype), w2)


def finish(y, s, X, post, comb, fn):
    return join(y + s, X, post, comb, fn)


def head_of(X, m, base, scale, norm, head):
    pre = torch.sigmoid(m * scale + base) + 1e-6
    return lin(merge(X, pre, norm), head).float()


# ------------------------------------------------------------------- slow forms of the kernels

def slow_mix(m, scale, base, iters, eps):
    pre = torch.sigmoid(m[:, :4] * scale[0] + base[:4]) + eps
    post = 2 * torch.sigmoid(m[:, 4:8] * scale[1] + base[4:8])
    c = torch.softmax((m[:, 8:] * scale[2] + base[8:]).view(-1, 4, 4), 2) + eps
    c = c / (c.sum(1, keepdim=True) + eps)
    for _ in range(iters - 1):
        c = c / (c.sum(2, keepdim=True) + eps)
        c = c / (c.sum(1, keepdim=True) + eps)
    return pre, post, c


def visible(T, ratio, window):
    """Masks [T, T] of the window and [T, T // ratio] of the pooled rows."""
    t = torch.arange(T)[:, None]
    s = torch.arange(T)[None]
    win = (s <= t) & (s > t - window)
    return win, (torch.arange(T // ratio)[None] < (t + 1) // ratio) if ratio else torch.zeros(T, 0, dtype=torch.bool)


def slow_attention(q, c, rows, sink, meta, sel):
    T, ratio, *windows = meta.tolist()
    out = []
    for b in range(q.shape[0] // T):
        win, vis = visible(T, ratio, windows[b])
        k = c[b * T:(b + 1) * T]
        mask = win
        if ratio:
            on = vis & sel[b * T:(b + 1) * T].bool() if sel.numel() and ratio == 4 else vis
            k, mask = torch.cat([k, rows[b * (T // ratio):(b + 1) * (T // ratio)]]), torch.cat([win, on], 1)
        s = torch.einsum("thd,kd->htk", q[b * T:(b + 1) * T], k) * D ** -0.5
        s = s.float().masked_fill(~mask, NEG)
        s = torch.cat([s, sink.view(H, 1, 1).expand(H, T, 1)], 2).softmax(2)[..., :-1].to(q.dtype)
        out.append(torch.einsum("htk,kd->thd", s, k))
    return torch.cat(out)


def slow_experts(u, ids, w, w13, w2):
    y = 0
    for e in range(w13.shape[0]):
        a = u @ w13[e].T
        we = (w * (ids == e)).sum(1, keepdim=True)
        h = we * F.silu(a[:, :W].float().clamp(max=10.0)) * a[:, W:].float().clamp(-10.0, 10.0)
        y = y + h.to(u.dtype) @ w2[e].T
    return y
