// Forward and backward kernels of the pocket trainer: hyper-connection weights (Sinkhorn), window +
// pooled-row attention, routed experts. Matrix products are bfloat16, everything between them float32.
#include <torch/extension.h>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

using at::BFloat16;
using at::Tensor;

// bfloat16 as raw bits: unlike at::BFloat16 these convert in vector registers.
typedef uint16_t half_t;
static inline float wide(half_t x) { return std::bit_cast<float>((uint32_t)x << 16); }
static inline half_t narrow(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  return (half_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
static half_t* bits(const Tensor& t) { return (half_t*)t.data_ptr<BFloat16>(); }

static const int LANES = 16;     // tokens handled side by side
typedef float lane[LANES];

// ---------------------------------------------------------------- hyper-connection weights

static void sinkhorn_block(const lane m[24], const float* scale, const float* base, int iters, float eps,
                           lane pre[4], lane post[4], lane c[16], lane (*hist)[16]) {
  for (int j = 0; j < 4; j++)
    for (int l = 0; l < LANES; l++) {
      pre[j][l] = 1.f / (1.f + expf(-(m[j][l] * scale[0] + base[j]))) + eps;
      post[j][l] = 2.f / (1.f + expf(-(m[4 + j][l] * scale[1] + base[4 + j])));
    }
  for (int j = 0; j < 4; j++)
    for (int l = 0; l < LANES; l++) {
      float x[4], mx = -1e30f, s = 0;
      for (int k = 0; k < 4; k++) {
        x[k] = m[8 + 4 * j + k][l] * scale[2] + base[8 + 4 * j + k];
        mx = x[k] > mx ? x[k] : mx;
      }
      for (int k = 0; k < 4; k++) s += x[k] = expf(x[k] - mx);
      float r = 1.f / s;
      for (int k = 0; k < 4; k++) c[4 * j + k][l] = x[k] * r + eps;
    }
  for (int it = 0; it < 2 * iters - 1; it++) {
    if (hist) memcpy(hist[it], c, 16 * sizeof(lane));
    int rows = it & 1, sj = rows ? 4 : 1, sk = rows ? 1 : 4;   // even: columns, odd: rows
    for (int a = 0; a < 4; a++)
      for (int l = 0; l < LANES; l++) {
        float s = eps;
        for (int k = 0; k < 4; k++) s += c[a * sj + k * sk][l];
        float r = 1.f / s;
        for (int k = 0; k < 4; k++) c[a * sj + k * sk][l] *= r;
      }
  }
}

static void load_block(const float* m, int64_t n0, int64_t n, int w, lane* out) {
  for (int l = 0; l < LANES; l++) {
    int64_t t = n0 + l < n ? n0 + l : n - 1;
    for (int i = 0; i < w; i++) out[i][l] = m[t * w + i];
  }
}

static void store_block(float* y, int64_t n0, int64_t n, int w, const lane* in) {
  for (int l = 0; l < LANES && n0 + l < n; l++)
    for (int i = 0; i < w; i++) y[(n0 + l) * w + i] = in[i][l];
}

std::vector<Tensor> hc_fwd(Tensor m, Tensor scale, Tensor base, int64_t iters, double eps) {
  int64_t n = m.size(0);
  Tensor pre = at::empty({n, 4}, m.options()), post = at::empty({n, 4}, m.options()),
         comb = at::empty({n, 4, 4}, m.options());
  for (int64_t i = 0; i < n; i += LANES) {
    lane x[24], p[4], q[4], c[16];
    load_block(m.data_ptr<float>(), i, n, 24, x);
    sinkhorn_block(x, scale.data_ptr<float>(), base.data_ptr<float>(), iters, eps, p, q, c, nullptr);
    store_block(pre.data_ptr<float>(), i, n, 4, p);
    store_block(post.data_ptr<float>(), i, n, 4, q);
    store_block(comb.data_ptr<float>(), i, n, 16, c);
  }
  return {pre, post, comb};
}

std::vector<Tensor> hc_bwd(Tensor m, Tensor scale, Tensor base, int64_t iters, double eps, Tensor dpre,
                           Tensor dpost, Tensor dcomb) {
  int64_t n = m.size(0);
  Tensor dm = at::empty_like(m);
  float ds[3] = {0}, db[24] = {0};
  const float* sc = scale.data_ptr<float>();
  static thread_local lane hist[64][16];
  for (int64_t i = 0; i < n; i += LANES) {
    lane x[24], p[4], q[4], c[16], gp[4], gq[4], g[16], d[24];
    load_block(m.data_ptr<float>(), i, n, 24, x);
    load_block(dpre.data_ptr<float>(), i, n, 4, gp);
    load_block(dpost.data_ptr<float>(), i, n, 4, gq);
    load_block(dcomb.data_ptr<float>(), i, n, 16, g);
    sinkhorn_block(x, sc, base.data_ptr<float>(), iters, eps, p, q, c, hist);
    for (int it = 2 * iters - 2; it >= 0; it--) {
      int rows = it & 1, sj = rows ? 4 : 1, sk = rows ? 1 : 4;
      for (int a = 0; a < 4; a++)
        for (int l = 0; l < LANES; l++) {
          float s = eps, dot = 0;
          for (int k = 0; k < 4; k++) {
            s += hist[it][a * sj + k * sk][l];
            dot += g[a * sj + k * sk][l] * hist[it][a * sj + k * sk][l];
          }
          float r = 1.f / s;
          dot *= r;
          for (int k = 0; k < 4; k++) g[a * sj + k * sk][l] = (g[a * sj + k * sk][l] - dot) * r;
        }
    }
    for (int j = 0; j < 4; j++)
      for (int l = 0; l < LANES; l++) {
        float dot = 0;
        for (int k = 0; k < 4; k++) dot += g[4 * j + k][l] * (hist[0][4 * j + k][l] - (float)eps);
        for (int k = 0; k < 4; k++)
          d[8 + 4 * j + k][l] = (hist[0][4 * j + k][l] - (float)eps) * (g[4 * j + k][l] - dot);
        float s = p[j][l] - (float)eps, h = q[j][l] * 0.5f;
        d[j][l] = gp[j][l] * s * (1 - s);
        d[4 + j][l] = gq[j][l] * 2 * h * (1 - h);
      }
    for (int k = 0; k < 24; k++) {
      int w = k < 4 ? 0 : k < 8 ? 1 : 2;
      float a = 0, b = 0;
      for (int l = 0; l < LANES; l++) {
        float on = i + l < n ? 1.f : 0.f;
        a += on * d[k][l] * x[k][l];
        b += on * d[k][l];
        d[k][l] *= sc[w];
      }
      ds[w] += a;
      db[k] += b;
    }
    store_block(dm.data_ptr<float>(), i, n, 24, d);
  }
  Tensor dscale = at::empty_like(scale), dbase = at::empty_like(base);
  memcpy(dscale.data_ptr<float>(), ds, sizeof ds);
  memcpy(dbase.data_ptr<float>(), db, sizeof db);
  return {dm, dscale, dbase};
}

// ------------------------------------------------------------------------------ attention

struct Block {            // queries q0..q0+nq of one sequence, local positions
  int64_t seq, q0, nq, k0, nk, nr, off;
};

static std::vector<Block> plan(int64_t n, int64_t T, int64_t ratio, const int64_t* windows, int64_t heads,
                               int64_t* total) {
  std::vector<Block> out;
  int64_t off = 0;
  for (int64_t s = 0; s < n / T; s++)
    for (int64_t q0 = 0; q0 < T; q0 += 64) {
      int64_t nq = std::min<int64_t>(64, T - q0), k0 = std::max<int64_t>(0, q0 - windows[s]);
      int64_t nr = ratio ? (q0 + nq) / ratio : 0;
      out.push_back({s, q0, nq, k0, q0 + nq - k0, nr, off});
      off += nq * heads * (q0 + nq - k0 + nr);
    }
  *total = off;
  return out;
}

static Tensor keys_of(const Block& b, const Tensor& c, const Tensor& rows, int64_t T, int64_t ratio) {
  Tensor kw = c.narrow(0, b.seq * T + b.k0, b.nk);
  return b.nr ? at::cat({kw, rows.narrow(0, b.seq * (T / ratio), b.nr)}) : kw;
}

// q [n,H,D], c [n,D], rows [n/ratio,D] bfloat16; sink [H]; meta = T, ratio, window of every sequence;
// sel [n, T/4] uint8 or empty.
std::vector<Tensor> attn_fwd(Tensor q, Tensor c, Tensor rows, Tensor sink, Tensor meta, Tensor sel) {
  auto* mt = meta.data_ptr<int64_t>();
  int64_t T = mt[0], ratio = mt[1], n = q.size(0), H = q.size(1), D = q.size(2), total;
  auto blocks = plan(n, T, ratio, mt + 2, H, &total);
  Tensor o = at::empty_like(q), P = at::empty({total}, q.options());
  const float scale = 1.f / sqrtf((float)D);
  const float* sk = sink.data_ptr<float>();
  std::vector<float> line;
  for (auto& b : blocks) {
    int64_t m = b.nq * H, w = b.nk + b.nr;
    Tensor k = keys_of(b, c, rows, T, ratio);
    Tensor qb = q.narrow(0, b.seq * T + b.q0, b.nq).view({m, D});
    Tensor S = P.narrow(0, b.off, m * w).view({m, w});
    at::mm_out(S, qb, k.t());
    line.resize(w);
    half_t* s = bits(S);
    for (int64_t i = 0; i < m; i++, s += w) {
      int64_t t = b.q0 + i / H, h = i % H;
      int64_t lo = std::max<int64_t>(0, t - mt[2 + b.seq] + 1) - b.k0, hi = t + 1 - b.k0;
      int64_t vis = ratio ? std::min(b.nr, (t + 1) / ratio) : 0;
      const uint8_t* on = sel.numel() && ratio == 4 ? sel.data_ptr<uint8_t>() + (b.seq * T + t) * sel.size(1) : nullptr;
      float mx = sk[h], sum = 0, *x = line.data();
      for (int64_t j = 0; j < w; j++) x[j] = wide(s[j]) * scale;
      for (int64_t j = 0; j < lo; j++) x[j] = -1e30f;
      for (int64_t j = hi; j < b.nk; j++) x[j] = -1e30f;
      for (int64_t j = vis; j < b.nr; j++) x[b.nk + j] = -1e30f;
      if (on)
        for (int64_t j = 0; j < vis; j++) x[b.nk + j] = on[j] ? x[b.nk + j] : -1e30f;
      for (int64_t j = 0; j < w; j++) mx = x[j] > mx ? x[j] : mx;
      for (int64_t j = 0; j < w; j++) sum += x[j] = expf(x[j] - mx);
      float r = 1.f / (sum + expf(sk[h] - mx));
      for (int64_t j = 0; j < w; j++) s[j] = narrow(x[j] * r);
    }
    Tensor ob = o.narrow(0, b.seq * T + b.q0, b.nq).view({m, D});
    at::mm_out(ob, S, k);
  }
  return {o, P};
}

std::vector<Tensor> attn_bwd(Tensor dO, Tensor q, Tensor c, Tensor rows, Tensor sink, Tensor meta, Tensor o, Tensor P) {
  auto* mt = meta.data_ptr<int64_t>();
  int64_t T = mt[0], ratio = mt[1], n = q.size(0), H = q.size(1), D = q.size(2), total;
  auto blocks = plan(n, T, ratio, mt + 2, H, &total);
  const float scale = 1.f / sqrtf((float)D);
  Tensor dq = at::empty_like(q);
  Tensor dc = at::zeros(c.sizes(), c.options().dtype(at::kFloat)), dr = at::zeros(rows.sizes(), dc.options());
  Tensor dsink = at::zeros_like(sink);
  float* dsk = dsink.data_ptr<float>();
  Tensor gbuf, dkbuf;
  for (auto& b : blocks) {
    int64_t m = b.nq * H, w = b.nk + b.nr;
    Tensor k = keys_of(b, c, rows, T, ratio);
    Tensor qb = q.narrow(0, b.seq * T + b.q0, b.nq).view({m, D});
    Tensor gb = dO.narrow(0, b.seq * T + b.q0, b.nq).view({m, D});
    Tensor S = P.narrow(0, b.off, m * w).view({m, w});
    Tensor G = at::mm(gb, k.t());
    half_t *g = bits(G), *s = bits(S);
    const half_t *go = bits(gb), *oo = bits(o) + (b.seq * T + b.q0) * H * D;
    for (int64_t i = 0; i < m; i++, g += w, s += w, go += D, oo += D) {
      float dot = 0, psum = 0;
      for (int64_t j = 0; j < D; j++) dot += wide(go[j]) * wide(oo[j]);
      for (int64_t j = 0; j < w; j++) {
        float p = wide(s[j]);
        psum += p;
        g[j] = narrow(p * (wide(g[j]) - dot) * scale);
      }
      dsk[i % H] -= (1 - psum) * dot;
    }
    Tensor dqb = dq.narrow(0, b.seq * T + b.q0, b.nq).view({m, D});
    at::mm_out(dqb, G, k);
    Tensor dk = at::mm(S.t(), gb), dk2 = at::mm(G.t(), qb);
    const half_t *a = bits(dk), *a2 = bits(dk2);
    float* __restrict y = dc.data_ptr<float>() + (b.seq * T + b.k0) * D;
    for (int64_t j = 0; j < b.nk * D; j++) y[j] += wide(a[j]) + wide(a2[j]);
    if (b.nr) {
      y = dr.data_ptr<float>() + b.seq * (T / ratio) * D;
      a += b.nk * D, a2 += b.nk * D;
      for (int64_t j = 0; j < b.nr * D; j++) y[j] += wide(a[j]) + wide(a2[j]);
    }
  }
  return {dq, dc.to(at::kBFloat16), dr.to(at::kBFloat16), dsink};
}

// -------------------------------------------------------------------------- routed experts

// out[i] = sum of the K rows slot[i*K..] of x.
static void gather(const half_t* x, const int64_t* slot, int64_t n, int64_t d, int64_t K, half_t* out) {
  std::vector<float> sum(d);
  float* s = sum.data();
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < d; j++) s[j] = 0;
    for (int64_t k = 0; k < K; k++) {
      const half_t* row = x + slot[i * K + k] * d;
      for (int64_t j = 0; j < d; j++) s[j] += wide(row[j]);
    }
    for (int64_t j = 0; j < d; j++) out[i * d + j] = narrow(s[j]);
  }
}

// u [n,d] bf16, ids [n,k], w [n,k] f32, w13 [E,2I,d], w2 [E,d,I] bf16 -> y [n,d] bf16 and what backward needs.
std::vector<Tensor> moe_fwd(Tensor u, Tensor ids, Tensor w, Tensor w13, Tensor w2) {
  int64_t n = u.size(0), d = u.size(1), K = ids.size(1), E = w13.size(0), I = w2.size(2);
  const int64_t* id = ids.data_ptr<int64_t>();
  std::vector<int64_t> start(E + 1, 0);
  for (int64_t i = 0; i < n * K; i++) start[id[i] + 1]++;
  for (int64_t e = 0; e < E; e++) start[e + 1] += start[e];
  Tensor slot = at::empty({n * K}, ids.options()), count = at::empty({E + 1}, ids.options());
  memcpy(count.data_ptr<int64_t>(), start.data(), (E + 1) * 8);
  Tensor xs = at::empty({n * K, d}, u.options()), ab = at::empty({n * K, 2 * I}, u.options());
  Tensor h = at::empty({n * K, I}, u.options()), ys = at::empty({n * K, d}, u.options()), y = at::empty_like(u);
  int64_t* sl = slot.data_ptr<int64_t>();
  std::vector<float> ws(n * K);
  for (int64_t i = 0; i < n * K; i++) {
    int64_t s = sl[i] = start[id[i]]++;
    ws[s] = w.data_ptr<float>()[i];
    memcpy(xs.data_ptr<BFloat16>() + s * d, u.data_ptr<BFloat16>() + (i / K) * d, d * 2);
  }
  const int64_t* cn = count.data_ptr<int64_t>();
  for (int64_t e = 0; e < E; e++) {
    int64_t m = cn[e + 1] - cn[e];
    if (!m) continue;
    Tensor abe = ab.narrow(0, cn[e], m), he = h.narrow(0, cn[e], m), ye = ys.narrow(0, cn[e], m);
    at::mm_out(abe, xs.narrow(0, cn[e], m), w13[e].t());
    for (int64_t i = 0; i < m; i++) {
      const half_t* a = bits(abe) + i * 2 * I;
      half_t* __restrict hh = bits(he) + i * I;
      float wt = ws[cn[e] + i];
      for (int64_t j = 0; j < I; j++) {
        float x = std::min(wide(a[j]), 10.f), z = std::max(-10.f, std::min(wide(a[I + j]), 10.f));
        hh[j] = narrow(wt * x / (1.f + expf(-x)) * z);
      }
    }
    at::mm_out(ye, he, w2[e].t());
  }
  gather(bits(ys), sl, n, d, K, bits(y));
  return {y, slot, count, xs, ab, h};
}

std::vector<Tensor> moe_bwd(Tensor dy, Tensor w, Tensor w13, Tensor w2, Tensor slot, Tensor count, Tensor xs,
                            Tensor ab, Tensor h) {
  int64_t nk = slot.size(0), n = dy.size(0), d = dy.size(1), K = nk / n, E = w13.size(0), I = w2.size(2);
  const int64_t *sl = slot.data_ptr<int64_t>(), *cn = count.data_ptr<int64_t>();
  Tensor gs = at::empty({nk, d}, dy.options()), dw = at::empty_like(w), du = at::empty_like(dy);
  Tensor dw13 = at::zeros_like(w13), dw2 = at::zeros_like(w2), dx = at::empty({nk, d}, dy.options());
  std::vector<float> ws(nk), dws(nk);
  for (int64_t i = 0; i < nk; i++) {
    memcpy(gs.data_ptr<BFloat16>() + sl[i] * d, dy.data_ptr<BFloat16>() + (i / K) * d, d * 2);
    ws[sl[i]] = w.data_ptr<float>()[i];
  }
  for (int64_t e = 0; e < E; e++) {
    int64_t m = cn[e + 1] - cn[e];
    if (!m) continue;
    Tensor ge = gs.narrow(0, cn[e], m), he = h.narrow(0, cn[e], m), xe = xs.narrow(0, cn[e], m);
    Tensor dh = at::mm(ge, w2[e]), dab = at::empty({m, 2 * I}, dy.options());
    Tensor o2 = dw2[e], o13 = dw13[e], dxe = dx.narrow(0, cn[e], m);
    at::mm_out(o2, ge.t(), he);
    for (int64_t i = 0; i < m; i++) {
      const half_t *a = bits(ab) + (cn[e] + i) * 2 * I, *g = bits(dh) + i * I;
      half_t* __restrict q = bits(dab) + i * 2 * I;
      float wt = ws[cn[e] + i], acc = 0;
      for (int64_t j = 0; j < I; j++) {
        float a0 = wide(a[j]), b0 = wide(a[I + j]), x = std::min(a0, 10.f), z = std::max(-10.f, std::min(b0, 10.f));
        float s = 1.f / (1.f + expf(-x)), gg = wide(g[j]);
        acc += gg * x * s * z;
        float ga = gg * wt;
        q[j] = narrow(a0 < 10.f ? ga * z * s * (1 + x * (1 - s)) : 0.f);
        q[I + j] = narrow(b0 == z ? ga * x * s : 0.f);
      }
      dws[cn[e] + i] = acc;
    }
    at::mm_out(o13, dab.t(), xe);
    at::mm_out(dxe, dab, w13[e]);
  }
  gather(bits(dx), sl, n, d, K, bits(du));
  for (int64_t i = 0; i < nk; i++) dw.data_ptr<float>()[i] = dws[sl[i]];
  return {du, dw, dw13, dw2};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("hc_fwd", &hc_fwd);
  m.def("hc_bwd", &hc_bwd);
  m.def("attn_fwd", &attn_fwd);
  m.def("attn_bwd", &attn_bwd);
  m.def("moe_fwd", &moe_fwd);
  m.def("moe_bwd", &moe_bwd);
}
