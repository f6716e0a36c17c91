"""Times training steps of MulT in MMSA 2.2.1 (package MMSA of the Python package index), for features_speed.py.

    python benchmarks/peers/mmsa_mult.py '{"lengths": [39, 400, 55], "dims": [768, 33, 709], "batch": 16, "steps": 10}'

Only its network is imported, which needs torch alone. Prints the seconds of each step as JSON.
"""

import importlib
import importlib.util
import json
import resource
import sys
import time
import types
from pathlib import Path

import torch


def network():
    """MMSA's class MULT, without what its packages import besides."""
    base = Path(importlib.util.find_spec("MMSA").origin).parent
    for name in ("MMSA", "MMSA.models", "MMSA.models.subNets", "MMSA.models.singleTask"):
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = [str(base.joinpath(*name.split(".")[1:]))]
    sys.modules["MMSA.models.subNets"].BertTextEncoder = object
    return importlib.import_module("MMSA.models.singleTask.MULT").MULT


def main() -> None:
    """The settings are MMSA's for SIMS."""
    given = json.loads(sys.argv[1])
    torch.set_num_threads(given.get("threads", 2))
    torch.manual_seed(0)
    kernels = {f"conv1d_kernel_size_{m}": k for m, k in zip("lav", (5, 1, 1), strict=True)}
    rates = dict(attn_dropout=0.2, attn_dropout_a=0.1, attn_dropout_v=0.0, relu_dropout=0.0, embed_dropout=0.1)
    rates |= dict(res_dropout=0.2, text_dropout=0.3, output_dropout=0.1)
    args = types.SimpleNamespace(
        use_bert=False, feature_dims=given["dims"], dst_feature_dim_nheads=(50, 10), nlevels=2, attn_mask=True,
        train_mode="regression", **kernels, **rates,
    )  # fmt: skip
    model = network()(args).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    inputs = [torch.randn(given["batch"], t, d) for t, d in zip(given["lengths"], given["dims"], strict=True)]
    labels = torch.randn(given["batch"], 1)
    seconds = []
    for step in range(given["steps"] + 2):
        begun = time.perf_counter()
        loss = torch.nn.functional.l1_loss(model(*inputs)["M"], labels)
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.6)
        if step % 8 == 7:
            optimizer.step()
            optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds[2:], "peak_mb": peak}))


if __name__ == "__main__":
    main()
