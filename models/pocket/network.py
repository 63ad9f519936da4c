"""Forward pass over flat batches: the pieces of model.py around the kernels, compiled or plain."""
import torch
import torch.nn.functional as F

import model as M


class Ops:
    """Which implementation runs: kernels and compiled pieces (bfloat16), or plain torch (any dtype)."""

    def __init__(self, fast=True):
        pieces = ("mix_of", "project", "project_pooled", "output", "route", "finish")
        if fast:
            from kernels import Attention, Experts, Mix
            self.mix, self.attention, self.experts = Mix.apply, Attention.apply, Experts.apply
            for p in pieces:
                setattr(self, p, torch.compile(getattr(M, p), dynamic=False))
        else:
            self.mix, self.attention, self.experts = M.slow_mix, M.slow_attention, M.slow_experts
            for p in pieces:
                setattr(self, p, getattr(M, p))


class Batch:
    """n = B*T tokens of B sequences, flat. gap [n/4]: how much lower pooled rows are placed; windows [B]."""

    def __init__(self, tokens, T, gap=None, windows=None):
        n = tokens.numel()
        self.tokens, self.T, self.n = tokens.flatten(), T, n
        t = torch.arange(n) % T
        self.cs = {0: M.rotary(t, 0)}
        self.cs[4] = self.cs[128] = M.rotary(t, 4)
        self.rows, self.first = {}, {}
        for r in (4, 128):
            p = t[::r][:n // r]
            if gap is not None:
                p = p - gap[::r // 4][:n // r]
            self.rows[r] = M.rotary(p, r)
            self.first[r] = torch.where(t[::r][:n // r] == 0, M.NEG, 0.0)[:, None]
        self.windows = windows or [M.SHAPE["sliding_window"]] * (n // T)
        self.sel = torch.empty(0, dtype=torch.uint8)


def forward(P, shape, bias, table, batch, ops, dtype=torch.bfloat16, select=None, keep=None):
    """Streams and head mix of every token, and expert loads [layers, experts].

    select(layer, u, qr, batch) -> mask [n, T/4] chooses pooled rows; keep: a list that receives (q, c, rows, u, qr) of
    every layer.
    """
    L = shape["num_hidden_layers"]
    it, eps = shape["hc_sinkhorn_iters"], shape["hc_eps"]
    x = F.embedding(batch.tokens, P["embed.weight"]).to(dtype)
    X = x[:, None].expand(-1, 4, -1).contiguous()
    m = ops.mix_of(X, P["layers.0.hc_attn_fn"])
    loads = []
    for l in range(L):
        p, ratio = f"layers.{l}.", shape["compress_ratios"][l]
        a, f = p + "attn.", p + "ffn."
        pre, post, comb = ops.mix(m, P[p + "hc_attn_scale"], P[p + "hc_attn_base"], it, eps)
        base = (X, pre, P[p + "attn_norm.weight"], P[a + "wq_a.weight"], P[a + "q_norm.weight"], P[a + "wq_b.weight"],
                P[a + "wkv.weight"], P[a + "kv_norm.weight"], *batch.cs[ratio])
        if ratio:
            q, c, rows, u, qr = ops.project_pooled(
                *base, P[a + "compressor.wkv.weight"], P[a + "compressor.wgate.weight"], P[a + "compressor.ape"],
                P[a + "compressor.norm.weight"], batch.first[ratio], *batch.rows[ratio], ratio)
        else:
            q, c, u, qr = ops.project(*base)
            rows = c[:0]
        sel = select(l, u, qr, batch) if select and ratio == 4 else batch.sel
        if keep is not None:
            keep.append((q, c, rows, u, qr))
        o = ops.attention(q, c, rows, P[a + "attn_sink"], torch.tensor([batch.T, ratio, *batch.windows]), sel)
        X, m = ops.output(o, X, post, comb, P[a + "wo_a.weight"], P[a + "wo_b.weight"], *batch.cs[ratio],
                          P[p + "hc_ffn_fn"])
        pre, post, comb = ops.mix(m, P[p + "hc_ffn_scale"], P[p + "hc_ffn_base"], it, eps)
        hashed = table[batch.tokens] if l < shape["num_hash_layers"] else None
        s = f + "shared_experts."
        u, ids, w, y = ops.route(X, pre, P[p + "ffn_norm.weight"], P[f + "gate.weight"], bias[l], hashed,
                                 P[s + "w1.weight"], P[s + "w3.weight"], P[s + "w2.weight"])
        loads.append(torch.bincount(ids.flatten(), minlength=shape["n_routed_experts"]))
        e = ops.experts(u, ids, w, P[f + "experts.w13"].to(dtype), P[f + "experts.w2"].to(dtype))
        fn = P["hc_head_fn"] if l == L - 1 else P[f"layers.{l + 1}.hc_attn_fn"]
        X, m = ops.finish(e, y, X, post, comb, fn)
    return X, m, torch.stack(loads)


def logits(P, X, m, at):
    return M.head_of(X[at], m[at], P["hc_head_base"], P["hc_head_scale"], P["norm.weight"], P["head.weight"])
