"""Greedy answers of vLLM on the CPU, for benchmarks/vllm_parity.py, in an environment of its own.

python benchmarks/peers/vllm_answers.py JOB.json     {"policy", "chats", "tokens", "out", "more": fields of LLM}
"""

import json
import os
import sys

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

from vllm import LLM, SamplingParams  # noqa: E402  it reads the environment when it is imported

job = json.load(open(sys.argv[1]))
llm = LLM(
    model=job["policy"], dtype="float32", max_model_len=512, enforce_eager=True, max_num_seqs=4, seed=0, **job["more"]
)
done = llm.chat(job["chats"], SamplingParams(temperature=0, max_tokens=job["tokens"]))
answers = [{"prompt": list(one.prompt_token_ids), "answer": list(one.outputs[0].token_ids)} for one in done]
json.dump(answers, open(job["out"], "w"))
