"""What a plan says: the compiler's numbers in place of the estimate, the verdict, and the same as JSON."""

import json
from dataclasses import replace

from emsa_jax.planning.compiled_cost import Cost
from emsa_jax.planning.hlo import Moved
from emsa_jax.planning.plan_result import PlanResult, with_costs

GATHERED = Moved("all-gather", ((1024, 1024),), 2**21, True, "loop", 1)


def result_of(big, capacity=78 * 10**9, **costs):
    estimate = replace(big.plan_of(), capacity=capacity)
    return PlanResult(
        policy="qwen2_5_omni_7b",
        topology="h100:1",
        mesh={"data": 2, "fsdp": 1, "tensor": 4},
        work=big.work,
        estimate=estimate,
        memory=with_costs(estimate, costs),
        costs=costs,
        seconds={"decode": 2.0, "total": 3.14159},
        head_dim=128,
        advice="do this",
    )


def test_the_compilers_numbers_replace_the_estimate_of_a_phase(big):
    cost = Cost(results=10, aliased=4, temporaries=100, seconds=2.0)
    result = result_of(big, sample=cost)
    prompts = {name: result.estimate.phases["decode"][name] for name in ("prompts", "prompt cache")}
    assert result.memory.phases["decode"] == prompts | {"temporaries": 100, "results": 6}
    assert result.memory.phases["update"] == result.estimate.phases["update"]
    assert result.summary()["phases_by_formula"]["decode"] > result.summary()["phases"]["decode"]


def test_the_verdict(big):
    need = result_of(big).memory.need("decode")
    assert result_of(big).memory.worst == "decode" and result_of(big).verdict.startswith("fits: decode needs")
    assert result_of(big, int(1.1 * need)).verdict.endswith("arithmetic errs by up to 15%; compile it to know")
    assert result_of(big, int(0.9 * need)).verdict.startswith("does not fit: decode needs")
    assert result_of(big, int(0.9 * need)).verdict.endswith("; do this")


def test_lines_and_json_say_the_same(big):
    result = result_of(big, sample=Cost(temporaries=100, seconds=2.0, in_loops=(GATHERED,)))
    lines, summary = result.lines(), json.loads(json.dumps(result.summary()))
    assert "sample: compiled in 2 s" in lines and lines[-1] == result.verdict
    assert any("in the token loops: 2.10 MB of weights gathered" in line for line in lines)
    assert summary["devices"] == 8 and summary["step_seconds"] == {"decode": 2.0, "total": 3.142}
    assert summary["token_loop"]["weights_gathered"] == 2**21 and summary["token_loop"]["in_place"]
    failed = result_of(big, sample=Cost(temporaries=10**12, seconds=1.0, failure="RESOURCE_EXHAUSTED: too much"))
    assert failed.summary()["token_loop"] is None and not failed.summary()["fit"]
    assert "sample: compiled in 1 s; RESOURCE_EXHAUSTED: too much" in failed.lines()
