"""The kernels of kernels.cpp as differentiable operators; built on first use into build/."""
import hashlib
import os

import torch
from torch.utils.cpp_extension import load

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "kernels.cpp")
# A folder per version of the source: a run in progress keeps its own library.
FOLDER = os.path.join(HERE, "build", "kernels-" + hashlib.md5(open(SOURCE, "rb").read()).hexdigest()[:8])
os.makedirs(FOLDER, exist_ok=True)
_c = load("pocket_kernels", [SOURCE], build_directory=FOLDER,
          extra_cflags=["-O3", "-march=native", "-ffast-math", "-fno-math-errno", "-std=c++20"])


class Mix(torch.autograd.Function):
    """Hyper-connection weights: m [n,24] -> pre [n,4], post [n,4], comb [n,4,4]."""

    @staticmethod
    def forward(ctx, m, scale, base, iters, eps):
        m = m.contiguous()
        ctx.save_for_backward(m, scale, base)
        ctx.k = iters, eps
        return tuple(_c.hc_fwd(m, scale.detach(), base.detach(), iters, eps))

    @staticmethod
    def backward(ctx, *g):
        m, scale, base = ctx.saved_tensors
        return (*_c.hc_bwd(m, scale.detach(), base.detach(), *ctx.k, *[x.contiguous() for x in g]), None, None)


class Attention(torch.autograd.Function):
    """Window + pooled rows + sink; see attn_fwd."""

    @staticmethod
    def forward(ctx, q, c, rows, sink, meta, sel):
        q, c, rows = q.contiguous(), c.contiguous(), rows.contiguous()
        o, p = _c.attn_fwd(q, c, rows, sink.detach(), meta, sel)
        ctx.save_for_backward(q, c, rows, sink, meta, o, p)
        return o

    @staticmethod
    def backward(ctx, g):
        q, c, rows, sink, meta, o, p = ctx.saved_tensors
        return (*_c.attn_bwd(g.contiguous(), q, c, rows, sink.detach(), meta, o, p), None, None)


class Experts(torch.autograd.Function):
    """Routed experts; see moe_fwd."""

    @staticmethod
    def forward(ctx, u, ids, w, w13, w2):
        u, w = u.contiguous(), w.contiguous()
        y, *keep = _c.moe_fwd(u, ids.contiguous(), w, w13, w2)
        ctx.save_for_backward(w, w13, w2, *keep)
        return y

    @staticmethod
    def backward(ctx, g):
        du, dw, dw13, dw2 = _c.moe_bwd(g.contiguous(), *ctx.saved_tensors)
        return du, None, dw, dw13, dw2
