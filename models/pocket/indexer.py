"""The lightning indexer: scores, selection, copy from the main attention, and the loss that keeps it in line."""
import torch

import model as M


def scores(P, l, u, qr, batch):
    """Per sequence [T, T/4] scores; invisible rows NEG."""
    b = f"layers.{l}.attn.indexer."
    cos, sin = batch.cs[4]
    iq = M.lin(qr, P[b + "wq_b.weight"]).view(-1, M.H, M.D).float()
    iq = M.turn(iq, cos[:, None], sin[:, None]).to(u.dtype)
    kv, gate = M.lin(u, P[b + "compressor.wkv.weight"]), M.lin(u, P[b + "compressor.wgate.weight"])
    ik = M.pool(kv, gate, P[b + "compressor.ape"], P[b + "compressor.norm.weight"], 4, batch.first[4], *batch.rows[4])
    ik = ik.to(u.dtype)
    hw = M.lin(u, P[b + "weights_proj.weight"]).float() * (M.D * M.H) ** -0.5
    return iq, ik, hw


def score(iq, ik, hw):
    s = torch.relu((iq.reshape(-1, M.D) @ ik.T).float()).view(iq.shape[0], M.H, -1)
    return torch.einsum("thr,th->tr", s, hw)


@torch.no_grad()
def select(P, top, l, u, qr, batch):
    """Mask [n, T/4] of the rows the indexer chooses."""
    T = batch.T
    iq, ik, hw = scores(P, l, u, qr, batch)
    vis = torch.arange(T // 4)[None] < (torch.arange(T)[:, None] + 1) // 4
    out = torch.zeros(batch.n, T // 4, dtype=torch.uint8)
    if T // 4 <= top:
        return out.fill_(1)
    for s in range(batch.n // T):
        a, r = slice(s * T, (s + 1) * T), slice(s * (T // 4), (s + 1) * (T // 4))
        S = score(iq[a], ik[r], hw[a]).masked_fill(~vis, M.NEG)
        out[a].scatter_(1, S.topk(top, 1).indices, 1)
    return out


@torch.no_grad()
def copy_window(P, shape):
    """Compressor of the CSA layers := their window keys and values, so that pooled rows can be found from the start."""
    for l, ratio in enumerate(shape["compress_ratios"]):
        if ratio == 4:
            a = f"layers.{l}.attn."
            P[a + "compressor.wkv.weight"].data.copy_(P[a + "wkv.weight"].data.repeat(2, 1))
            P[a + "compressor.norm.weight"].data.copy_(P[a + "kv_norm.weight"].data)


@torch.no_grad()
def copy_main(P, shape, means):
    """Indexer := main attention. means[l] = (mean input u, mean head lengths before the norm) at answer positions."""
    M_new = M.add_indexer({k: v for k, v in P.items()}, shape)
    for k, v in M_new.items():
        if ".indexer." in k:
            P[k].data.copy_(v)
    for l, (mu, nh) in means.items():
        w = mu / (mu @ mu) * (M.H * M.D) ** 0.5
        P[f"layers.{l}.attn.indexer.weights_proj.weight"].data.copy_(w[None] / nh[:, None])


def kl_loss(P, shape, keep, batch, at, limit=96):
    """Sum over CSA layers of mean(mass KL(main attention over rows || index scores)) at the flat positions `at`."""
    T, total = batch.T, 0.0
    if len(at) > limit:
        at = at[torch.randperm(len(at))[:limit]]
    for l, (q, c, rows, u, qr) in enumerate(keep):
        if shape["compress_ratios"][l] != 4:
            continue
        q, c, rows, u, qr = (x.detach() for x in (q, c, rows, u, qr))
        iq, ik, hw = scores(P, l, u, qr, batch)
        for s in range(batch.n // T):
            p = at[(at >= s * T) & (at < (s + 1) * T)]
            t = p - s * T
            p, t = p[t >= 7], t[t >= 7]
            if not len(p):
                continue
            r = slice(s * (T // 4), (s + 1) * (T // 4))
            vis = torch.arange(T // 4)[None] < (t[:, None] + 1) // 4
            win = torch.arange(T)[None] - t[:, None]
            win = (win <= 0) & (win > -shape["sliding_window"])
            with torch.no_grad():
                k = torch.cat([c[s * T:(s + 1) * T], rows[r]])
                a = (q[p].reshape(-1, M.D) @ k.T).float().view(len(p), M.H, -1) * M.D ** -0.5
                a = a.masked_fill(~torch.cat([win, vis], 1)[:, None], M.NEG)
                sink = P[f"layers.{l}.attn.attn_sink"].view(1, M.H, 1).expand(len(p), -1, 1)
                pr = torch.cat([a, sink], 2).softmax(2)[:, :, T:-1].sum(1)
                mass = pr.sum(1) / M.H
                target = pr / pr.sum(1, keepdim=True).clamp(min=1e-9)
            I = score(iq[p], ik[r], hw[p]).masked_fill(~vis, M.NEG).log_softmax(1)
            kl = (target * (target.clamp(min=1e-9).log() - I)).masked_fill(~vis, 0).sum(1)
            total = total + (mass * kl).sum() / len(at)
    return total
