"""Write the trained state as a checkpoint in the release layout.

usage: export.py [STATE [OUTDIR]]      default build/state.pt, this folder
"""
import json
import os
import sys

import numpy as np
import torch

import model as M

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "spec", "oracle"))   # number formats and file: those of the oracle

import numfmt

CONFIG = {
    "architectures": ["DeepseekV4ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
    "eos_token_id": 1, "expert_dtype": "fp4", "hidden_act": "silu",
    "initializer_range": 0.02, "max_position_embeddings": 1048576, "model_type": "deepseek_v4", "n_shared_experts": 1,
    "norm_topk_prob": True, "num_key_value_heads": 1, "num_nextn_predict_layers": 0,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0",
                            "weight_block_size": [128, 128]},
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 16,
                                            "original_max_position_embeddings": 65536, "type": "yarn"},
    "rope_theta": 10000, "scoring_func": "sqrtsoftplus", "tie_word_embeddings": False, "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16", "transformers_version": "4.57.1", "use_cache": True, "compress_rope_theta": 160000,
}

# Places of a head's components in the file, taken from the trainer's halves: adjacent pairs in the last 64.
PAIRS = np.concatenate([np.arange(64), np.stack([np.arange(64, 96), np.arange(96, 128)], 1).ravel()])


def interleave(name, w):
    """The trainer's tensor with rotary components in adjacent pairs."""
    rows = lambda k: np.concatenate([PAIRS + 128 * i for i in range(k)])
    if name.endswith(("wq_b.weight", "compressor.wkv.weight", "compressor.wgate.weight", "attn.wkv.weight")):
        return w[rows(w.shape[0] // 128)]
    if name.endswith("compressor.ape"):
        return w[:, rows(w.shape[1] // 128)]
    if name.endswith(("kv_norm.weight", "compressor.norm.weight")):
        return w[PAIRS]
    if name.endswith("wo_a.weight"):
        return w[:, rows(w.shape[1] // 128)]
    return w


def fp8(name):
    return name.endswith(("wq_a.weight", "wq_b.weight", "attn.wkv.weight", "wo_a.weight", "wo_b.weight")) \
        or "shared_experts" in name


def tensors(P, table, bias, shape):
    out = {}
    for k, w in P.items():
        w = np.ascontiguousarray(interleave(k, w.detach().float().numpy()))
        if k.endswith("experts.w13") or k.endswith("experts.w2"):
            base = k.rsplit(".", 1)[0]
            for e in range(w.shape[0]):
                half = w.shape[1] // 2
                parts = {"w1": w[e, :half], "w3": w[e, half:]} if k.endswith("w13") else {"w2": w[e]}
                for n, x in parts.items():
                    c, s = numfmt.quant_fp4_weight(np.ascontiguousarray(x))
                    out[f"{base}.{e}.{n}.weight"], out[f"{base}.{e}.{n}.scale"] = ("I8", c), ("F8_E8M0", s)
        elif fp8(k):
            c, s = numfmt.quant_fp8_weight(w)
            out[k], out[k[:-6] + "scale"] = ("F8_E4M3", c), ("F8_E8M0", s)
        elif "hc_" in k or k.endswith(("ape", "attn_sink")):
            out[k] = ("F32", w)
        else:
            out[k] = ("BF16", numfmt.bf16_encode(w))
    for l in range(shape["num_hidden_layers"]):
        if l < shape["num_hash_layers"]:
            out[f"layers.{l}.ffn.gate.tid2eid"] = ("I64", table.numpy())
        else:
            out[f"layers.{l}.ffn.gate.bias"] = ("F32", bias[l].float().numpy())
    return out


def load(state_path):
    vocab = len(json.load(open(os.path.join(HERE, "tokenizer.json")))["model"]["vocab"])
    s = torch.load(state_path)
    P, table = M.init(M.SHAPE, vocab, s["seed"])
    M.add_indexer(P, M.SHAPE)
    at = 0
    for k in P:
        n = P[k].numel()
        P[k] = s["flat"][at:at + n].view(P[k].shape).clone()
        at += n
    return P, table, s["bias"], s, vocab


def write(P, table, bias, vocab, out):
    os.makedirs(out, exist_ok=True)
    cfg = {**CONFIG, **M.SHAPE, "vocab_size": vocab}
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(dict(sorted(cfg.items())), f, indent=2)
        f.write("\n")
    with open(os.path.join(out, "generation_config.json"), "w") as f:
        json.dump({"_from_model_config": True, "bos_token_id": 0, "do_sample": True, "eos_token_id": 1,
                   "temperature": 1.0, "top_p": 1.0, "transformers_version": "4.57.1"}, f, indent=2)
        f.write("\n")
    return numfmt.st_save(os.path.join(out, "model.safetensors"), tensors(P, table, bias, M.SHAPE))


if __name__ == "__main__":
    state = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "build", "state.pt")
    out = sys.argv[2] if len(sys.argv) > 2 else HERE
    P, table, bias, s, vocab = load(state)
    n = write(P, table, bias, vocab, out)
    print(f"step {s['step']}, {s['tokens'] / 1e6:.1f} M tokens, {n / 1e6:.2f} MB -> {out}")
