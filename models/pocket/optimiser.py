"""Muon for matrices, AdamW for the rest, over one flat buffer of shared parameters."""
import torch

ADAM = ("embed.weight", "head.weight", "hc_", "ape", "ffn.gate.weight", "weights_proj", "norm", "attn_sink")


def is_adam(name):
    return any(s in name for s in ADAM)


def orthogonal(G):
    """Newton-Schulz on a batch [k, rows <= cols]."""
    X = G.bfloat16()
    X = X / (X.flatten(1).norm(dim=1).float().clamp(min=1e-12)[:, None, None]).bfloat16()
    for _ in range(5):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=-4.7750, alpha=2.0315), X, beta=3.4445)
    return X.float()


class Optimiser:
    """Rank r of `ranks` updates every ranks-th matrix; rank 0 also updates what AdamW owns."""

    def __init__(self, P, grads, rank, ranks):
        self.P, self.grads, self.rank = P, grads, rank       # grads: list of name -> gradient, one per rank
        groups = {}
        for k in P:
            if is_adam(k):
                continue
            view = lambda t, k=k: self.matrices(k, t)
            for i in range(view(P[k]).shape[0]):
                groups.setdefault(tuple(view(P[k]).shape[1:]), []).append((k, i))
        self.groups = {s: v[rank::ranks] for s, v in sorted(groups.items())}
        self.momentum = {s: torch.zeros(len(v), *s) for s, v in self.groups.items() if v}
        self.adam = {k: (torch.zeros_like(P[k]), torch.zeros_like(P[k])) for k in P if is_adam(k)} if rank == 0 else {}
        self.t = 0

    @staticmethod
    def matrices(name, t):
        """The matrices of a parameter: every expert, w1 and w3, and every output group on its own."""
        if name.endswith("experts.w13"):
            return t.view(-1, t.shape[1] // 2, t.shape[2])
        if name.endswith("experts.w2"):
            return t
        if name.endswith("wo_a.weight"):
            return t.view(2, -1, t.shape[1])
        return t[None]

    @torch.no_grad()
    def step(self, lr, adam_lr, scale, active):
        """scale: factor on the summed gradients; active(name) says whether a parameter is trained now."""
        self.t += 1
        for shape, members in self.groups.items():
            pick = [(j, k, i) for j, (k, i) in enumerate(members) if active(k)]
            if not pick:
                continue
            idx = torch.tensor([j for j, _, _ in pick])
            g = torch.stack([sum(self.matrices(k, gr[k])[i] for gr in self.grads) for _, k, i in pick]) * scale
            m = self.momentum[shape][idx].mul_(0.95).add_(g, alpha=0.05)
            self.momentum[shape][idx] = m
            u = g * 0.05 + m * 0.95
            tall = shape[0] > shape[1]
            u = orthogonal(u.mT if tall else u)
            u = u.mT if tall else u
            step = lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for j, (_, k, i) in enumerate(pick):
                p = self.matrices(k, self.P[k].data)[i]
                p.mul_(1 - 0.01 * lr).add_(u[j], alpha=-step)
        if self.rank:
            return
        names = [k for k in self.adam if active(k)]
        gs = {k: sum(gr[k] for gr in self.grads) * scale for k in names}
        norm = torch.sqrt(sum((g * g).sum() for g in gs.values()))
        clip = min(1.0, 1.0 / (norm.item() + 1e-9))
        for k in names:
            g, (m, v) = gs[k] * clip, self.adam[k]
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.98).addcmul_(g, g, value=0.02)
            mh, vh = m / (1 - 0.9 ** self.t), v / (1 - 0.98 ** self.t)
            self.P[k].data.add_(mh / (vh.sqrt() + 1e-8), alpha=-adam_lr * (3 if k == "embed.weight" else 1))
