"""Compares the networks of the feature-based track with recorded numbers of their public PyTorch code.

    python benchmarks/parity_features.py --oracle DIR [--real]

DIR holds index.json, NETWORK_seedN.npz (parameters, inputs, outputs, each part of the loss, gradients, three or more
updates) and loader/ (a feature file and the arrays that reach a model). Everything is computed in float32 and again in
float64. Prints the largest difference of each kind; exit code 1 where one is beyond its tolerance: float32 outputs
1e-5, losses 5e-6, gradients 2e-5, float64 outputs and losses 1e-9, gradients 1e-8, updates 1e-8. DLF, whose table of
positions is float32 there, 1e-6, 1e-6, 1e-5 and 1e-5. What does not depend on the accuracy is compared once.

--real adds the published sizes, BERT included: numbers of parameters, and outputs for zeros and for ones with weights
made by a formula, to 2e-5.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from emsa_jax.data.features import read_features
from emsa_jax.features.almt import ALMTOptions
from emsa_jax.features.dlf import DLFOptions
from emsa_jax.features.mag_bert import MAGOptions, align_as_mmsa
from emsa_jax.features.misa import MISAOptions
from emsa_jax.features.mult import MulTOptions
from emsa_jax.features.networks import KINDS, Batch, Network, NetworkOptions
from emsa_jax.features.protocol import Protocol, warmup_cosine
from emsa_jax.features.recipes import RECIPES
from emsa_jax.features.state_dict import from_state_dict, trained_shapes, trained_tensors
from emsa_jax.features.updates import add_gradients, new_learner, update
from emsa_jax.policy.hf_config import bert_config
from emsa_jax.policy.thinker_config import BertConfig

Golden = Mapping[str, np.ndarray]
TOLERANCES = {  # (float32, float64), and float64 of DLF
    "outputs": (1e-5, 1e-9, 1e-6),
    "losses": (5e-6, 1e-9, 1e-6),
    "gradients": (2e-5, 1e-8, 1e-5),
    "updates": (1e-3, 1e-8, 1e-5),
    "micro losses": (1e-3, 1e-8, 1e-5),
    "other cases": (1e-5, 1e-5, 1e-5),
    "their gradients": (2e-3, 2e-3, 2e-3),  # of float32 goldens of up to 54, at what is scaled by 1 / sqrt(eps)
}
REAL_TOLERANCE = 2e-5


@dataclass(frozen=True)
class Found:
    """A difference; `where`: the name of what was compared."""

    kind: str
    where: str
    difference: float


def options_of(name: str, config: Mapping) -> NetworkOptions:
    """The options of a golden network, without dropout."""
    c = config
    if name == "mag_bert":
        return MAGOptions(beta=c["beta_shift"], rate=0.0)
    if name == "misa":
        return MISAOptions(c["hidden_size"], 0.0, c["diff_weight"], c["sim_weight"], c["recon_weight"])
    if name == "almt":
        heads = (c["proj_heads"], c["l_enc_heads"], c["fusion_heads"])
        hidden = (c["proj_mlp_dim"], c["l_enc_mlp_dim"], c["fusion_mlp_dim"])
        depths = dict(depth=c["proj_depth"], hyper_depth=c["AHL_depth"], fusion_depth=c["fusion_layer_depth"])
        hyper = dict(hyper_heads=c["ahl_heads"], hyper_head_width=c["ahl_dim_head"])
        return ALMTOptions(c["token_dim"], c["token_len"], heads, hidden, **depths, **hyper)
    width, heads = c["dst_feature_dim_nheads"]
    sizes = dict(width=width, heads=heads, levels=c["nlevels"])
    sizes["kernels"] = tuple(c[f"conv1d_kernel_size_{m}"] for m in "lav")
    rates = dict(attention=(0.0, 0.0, 0.0), relu=0.0, embed=0.0, residual=0.0, text=0.0, output=0.0)
    if name == "mult":
        return MulTOptions(**sizes, **rates)
    return DLFOptions(**sizes, **rates, orthogonal={"mosi": 50, "mosei": 10}[c["dataset_name"]])


def network_of(name: str, config: Mapping) -> Network:
    """A golden network."""
    bert = bert_config({"model_type": "bert", **config["bert"]}, "index.json") if "bert" in config else None
    return Network(name, options_of(name, config), bert)


def batch_of(golden: Golden, prefix: str, dtype) -> Batch:
    """The arrays under a prefix as a batch."""
    given = {name: golden[f"{prefix}{name}"] for name in ("audio", "vision", "labels")}
    audio, vision, labels = (jnp.asarray(value, dtype) for value in given.values())
    if f"{prefix}text" in golden:
        text = jnp.asarray(golden[f"{prefix}text"], dtype)
        mask = jnp.ones(text.shape[:2], dtype)
    else:
        text = jnp.asarray(golden[f"{prefix}text_bert"])
        mask = text[:, 1]
    return Batch(text, mask, audio, vision, labels, jnp.ones(len(labels), dtype))


def tensors(golden: Golden, prefix: str) -> dict[str, np.ndarray]:
    """Name -> value of what stands under a prefix."""
    return {name.removeprefix(prefix): golden[name] for name in golden if name.startswith(prefix)}


def as_golden(name: str, value: jax.Array, golden: np.ndarray) -> np.ndarray:
    """An output in the golden's order of axes: DLF's are [T, B, d] there, and [B, d, T] what it encodes again."""
    value = np.asarray(value)
    if value.ndim == 3:
        value = value.transpose((0, 2, 1) if name.endswith("_r") else (1, 0, 2))
    return value


def statistics(value: np.ndarray) -> np.ndarray:
    """[7]: sum, sum of sizes, norm, and the first four numbers in C order, 0 where there are fewer."""
    flat = np.asarray(value, np.float64).ravel()
    first = np.pad(flat[:4], (0, max(0, 4 - flat.size)))
    return np.array([flat.sum(), np.abs(flat).sum(), np.sqrt((flat**2).sum()), *first])


def largest(kind: str, pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[Found]:
    """The largest difference of pairs by name; one that is not a number counts as infinite."""
    differences = {name: float(np.abs(np.asarray(a) - np.asarray(b)).max()) for name, (a, b) in pairs.items()}
    differences = {name: d if np.isfinite(d) else np.inf for name, d in differences.items()}
    if differences:
        worst = max(differences, key=differences.get)
        yield Found(kind, worst, differences[worst])


def loss_name(name: str, network: Network) -> str:
    """A part of the loss under the golden's name."""
    return re.sub(r"^ort_(?=[lva]$)", f"ort{getattr(network.options, 'orthogonal', 0)}_", name)


def compare_once(network: Network, golden: Golden, entry: Mapping, dtype) -> Iterator[Found]:
    """Outputs, parts of the loss and gradients."""
    double = dtype == np.float64
    end = "64" if double else ""
    batch = batch_of(golden, "in/", dtype)
    params = from_state_dict(network, batch, tensors(golden, "param/"), dtype)
    outputs, losses, grads = run(network, params, batch)
    wanted = tensors(golden, f"out{end}/")
    pairs = {f"out/{n}": (as_golden(n, outputs[n], value), value) for n, value in wanted.items()}
    yield from largest("outputs", pairs)
    named = {loss_name(n, network): value for n, value in losses.items()}
    wanted = {n: v for n, v in tensors(golden, f"loss{end}/").items() if not (n.startswith("ort") and n not in named)}
    yield from largest("losses", {f"loss/{n}": (named[n], value) for n, value in wanted.items()})
    found = trained_tensors(network, grads)
    if double:
        order = entry["grad64_stats_order"]
        pairs = {n: (statistics(found[n]), row) for n, row in zip(order, golden["grad64_stats"], strict=True)}
    else:
        pairs = {n: (found[n], value) for n, value in tensors(golden, "grad/").items()}
        if missing := found.keys() - pairs.keys():
            raise SystemExit(f"{network.name}: the oracle has no gradient of {sorted(missing)[0]}")
    yield from largest("gradients", pairs)


def run(network: Network, params, batch: Batch):
    """(outputs, losses, gradients) without dropout, in one program."""

    def total(params):
        losses = network.losses(params, batch)
        return losses["total"], losses

    @jax.jit
    def program(params):
        (_, losses), grads = jax.value_and_grad(total, has_aux=True)(params)
        return network.outputs(params, batch), losses, grads

    return program(params)


def compare_other_cases(network: Network, golden: Golden, dtype) -> Iterator[Found]:
    """MAG-BERT on unaligned frames and with biases of zero; ALMT with a hyper-modality of ones."""
    batch = batch_of(golden, "in/", dtype)
    state = tensors(golden, "param/")
    cases: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    gradients: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    changed = None
    if network.name == "mag_bert":
        params = from_state_dict(network, batch, state, dtype)
        unaligned = batch_of(golden, "unaligned/in/", dtype)
        cases["unaligned/out/M"] = network.outputs(params, unaligned)["M"], golden["unaligned/out/M"]
        steps = golden["unaligned/aligned_audio"].shape[1]
        for m in ("audio", "vision"):
            cases[f"aligned_{m}"] = align_as_mmsa(getattr(unaligned, m), steps), golden[f"unaligned/aligned_{m}"]
        for name, value in tensors(golden, "unaligned/probe_").items():
            frames = np.arange(4 * int(name), dtype=dtype).reshape(2, int(name), 2)
            cases[f"probe_{name}"] = align_as_mmsa(jnp.asarray(frames), value.shape[1]), value
        case, of_mag = "zerobias", re.compile(r"\.MAG\.W_[av]\.bias$")
        changed = {n: np.zeros_like(v) if of_mag.search(n) else v for n, v in state.items()}
    elif network.name == "almt":
        case, changed = "ones", state | {"h_hyper": np.ones_like(state["h_hyper"])}
    if changed is not None:
        params = from_state_dict(network, batch, changed, dtype)
        outputs, losses, grads = run(network, params, batch)
        cases[f"{case}/M"] = outputs["M"], golden[f"{case}/out/M"]
        cases[f"{case}/loss"] = losses["total"], golden[f"{case}/loss/total"]
        found = trained_tensors(network, grads)
        gradients |= {n: (found[n], value) for n, value in tensors(golden, f"{case}/grad/").items()}
    yield from largest("other cases", cases)
    yield from largest("their gradients", gradients)


def protocol_of(name: str, config: Mapping) -> Protocol:
    """How the golden updates were made."""
    c = config
    if name == "almt":
        return Protocol(learning_rate=c["lr"], weight_decay=c["weight_decay"], schedule="warmup_cosine")
    accumulation = dict(accumulate=c["update_epochs"], clip_value=c["grad_clip"]) if "update_epochs" in c else {}
    return Protocol(learning_rate=c["learning_rate"], **accumulation)


def compare_training(network: Network, golden: Golden, entry: Mapping, dtype) -> Iterator[Found]:
    """Losses before each gradient, and statistics of every parameter after each update.

    In float32 without what has no gradient in exact arithmetic, which Adam makes steps of rounding of.
    """
    double = dtype == np.float64
    protocol = protocol_of(network.name, entry["config"])
    batches = [batch_of(golden, prefix, dtype) for prefix in ("in/", "train/b/")]
    tree = from_state_dict(network, batches[0], tensors(golden, "param/"), dtype)
    flat, unravel = jax.flatten_util.ravel_pytree(tree)
    decays = np.ones(flat.size, np.float32)
    rates = golden["train/lrs"]
    gradient = jax.jit(jax.value_and_grad(lambda p, batch: network.losses(unravel(p), batch)["total"]))
    learner = new_learner(flat, rates[0])
    losses, pairs = [], {}
    for i in range(len(golden["train/micro_losses"])):
        second = i % 2 == 0 and i > 0 if network.name == "almt" else i % 2 == 1  # ALMT: A, then A B, A B, ...
        loss, grads = gradient(learner.params, batches[second])
        losses.append(loss)
        learner = add_gradients(learner, grads, protocol)
        if (i + 1) % protocol.accumulate:
            continue
        number = (i + 1) // protocol.accumulate
        learner = learner.replace(rate=jnp.asarray(rates[number - 1], dtype))
        learner = update(learner, protocol.accumulate, decays, protocol)
        found = trained_tensors(network, unravel(learner.params))
        for name, row in zip(entry["train_param_order"], golden[f"train/step{number}"], strict=True):
            if name in found and (double or not without_gradient(name, entry)):
                pairs[f"step {number}: {name}"] = statistics(found[name]), row
    yield from largest("micro losses", {"train/micro_losses": (np.array(losses), golden["train/micro_losses"])})
    yield from largest("updates", pairs)


def without_gradient(name: str, entry: Mapping) -> bool:
    """Whether a parameter, or the third of one, has no gradient in exact arithmetic."""
    return name in entry["grad_zero_in_exact_arithmetic"] or name.endswith("in_proj_bias")


def compare_schedule(golden: Golden) -> Iterator[Found]:
    """ALMT's rates."""
    for name, rates in tensors(golden, "schedule/").items():
        epochs = int(name.rpartition("_")[2])
        ours = [warmup_cosine(epoch, epochs) for epoch in range(1, len(rates) + 1)]
        yield from largest("updates", {name: (np.array(ours), rates)})


def compare_loader(folder: Path) -> list[Found]:
    """Arrays of a feature file as they reach a model. What is not finite in the golden has to be 0 in ours."""
    golden = np.load(folder / "loader.npz")
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for key in golden:
        alignment, normed, bert, kind, split, array = key.split("/")
        if normed == "norm1":  # means over all frames, padding included, which none of the five networks reads
            continue
        part = read_features(folder / f"{alignment}.pkl")[split]
        names = {"text": "text_bert" if bert == "bert1" else "text", "label_M": "regression_labels"}
        names |= {f"label_{m}": f"regression_labels_{m}" for m in "TAV"}
        ours, theirs = getattr(part, names.get(array, array)), golden[key]
        if array.startswith("label"):
            theirs = theirs.reshape(-1)
        pairs[key] = ours, np.where(np.isfinite(theirs), theirs, 0)
    return list(largest("loader", pairs))


def compare_real(real: Mapping) -> Iterator[Found]:
    """Networks of the published sizes. A number of parameters that is not theirs counts as infinitely far off."""
    sizes = {"sims": (39, (400, 33), (55, 709)), "mosi": (50, (375, 5), (500, 20)), "mosei": (50, (500, 74), (500, 35))}
    for key, expected in real.items():
        name, dataset = key.replace("bert_mag", "mag_bert").split("/")
        if dataset == "simsv2":
            continue  # of which no outputs are recorded
        steps, *media = sizes[dataset]
        media = [(steps if name in ("mag_bert", "dlf") else frames, size) for frames, size in media]
        vocabulary = 21128 if dataset == "sims" else 30522
        bert = None if name == "mult" else BertConfig(vocab_size=vocabulary)
        network = Network(name, RECIPES[name, dataset].options, bert)
        worst = 0.0
        for value in (0.0, 1.0):
            audio, vision = (np.full((2, *shape), value, np.float32) for shape in media)
            text = np.full((2, steps, 768), value, np.float32)
            if bert:
                text = np.stack([np.full((2, steps), one) for one in (1, 1, 0)], axis=1)
            ones = np.ones((2, steps), np.float32)
            batch = Batch(text, ones, audio, vision, np.zeros((2, 1), np.float32), np.ones(2, np.float32))
            shapes = trained_shapes(network, batch)
            count = sum(map(np.prod, [*shapes.values(), *network.unused(batch).values()]))
            worst = max(worst, np.inf if count != expected["total"] else 0.0)
            if wanted := expected.get("output"):
                state = {tensor: formula_weights(tensor, shape) for tensor, shape in shapes.items()}
                params = from_state_dict(network, batch, state)
                found = jax.jit(network.outputs)(params, batch)[network.kind.prediction][:, 0]
                worst = max(worst, float(np.abs(found - np.array(wanted["ones" if value else "zeros"])).max()))
        yield Found("real sizes", key, worst)


def formula_weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights that the recorded outputs of real sizes were made with."""
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32) * np.float32(0.02)
    return value + 1 if len(shape) == 1 and name.endswith("weight") else value


def main() -> None:
    """Prints the table and ends with 1 where a difference is beyond its tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--real", action="store_true", help="the published sizes too")
    parser.add_argument("--only", default="", help="a network alone")
    arguments = parser.parse_args()
    index = json.loads((arguments.oracle / "index.json").read_text())["networks"]
    files = [p for p in sorted(arguments.oracle.glob("*_seed*.npz")) if p.name.startswith(arguments.only)]
    if not files:
        raise SystemExit(f"{arguments.oracle} holds no NETWORK_seedN.npz")
    table = Table("file", "kind", "float32", "tolerance", "float64", "tolerance", "largest at")
    sound = True
    for path in files:
        name = path.stem.rpartition("_seed")[0]
        if name not in KINDS:
            raise SystemExit(f"{path}: {name} is none of {', '.join(KINDS)}")
        golden = dict(np.load(path))
        network = network_of(name, index[name]["config"])
        results: dict[str, list[Found]] = {}
        for dtype in (np.float32, np.float64):
            with jax.enable_x64(dtype == np.float64):
                found = [
                    *compare_once(network, golden, index[name], dtype),
                    *compare_other_cases(network, golden, dtype),
                    *compare_training(network, golden, index[name], dtype),
                    *compare_schedule(golden),
                ]
            for one in found:
                results.setdefault(one.kind, []).append(one)
        for kind, found in results.items():
            single, double, of_dlf = TOLERANCES[kind]
            limits = [single, of_dlf if name == "dlf" else double]
            both = [found[0], max(found[len(found) // 2 :], key=lambda one: one.difference)]
            cells = [text for one, limit in zip(both, limits, strict=True) for text in shown(one.difference, limit)]
            sound &= all(one.difference <= limit for one, limit in zip(both, limits, strict=True))
            table.add_row(path.stem, kind, *cells, both[1].where)
    if (arguments.oracle / "loader").is_dir() and not arguments.only:
        for one in compare_loader(arguments.oracle / "loader"):
            sound &= one.difference == 0
            table.add_row("loader", one.kind, *shown(one.difference, 0.0), "", "", one.where)
    if arguments.real:
        for one in compare_real(json.loads((arguments.oracle / "index.json").read_text())["real"]):
            sound &= one.difference <= REAL_TOLERANCE
            table.add_row("real sizes", one.where, *shown(one.difference, REAL_TOLERANCE), "", "", "")
    Console(width=150).print(table)
    print("parity holds" if sound else "parity does not hold")
    sys.exit(0 if sound else 1)


def shown(difference: float, limit: float) -> tuple[str, str]:
    return f"{difference:.1e}" if difference <= limit else f"[bold]{difference:.1e} (!)[/bold]", f"{limit:.0e}"


if __name__ == "__main__":
    main()
