"""What `make weights` made, against `transformers`: whether the text model is sound, and how near the audio tower is to
Whisper.

    python benchmarks/weights.py --audio DIR [--weights weights] [--torchvision DIR]

audio: recordings; the first six are heard. torchvision: where it lies, for a Python whose torch has no CUDA, in which
it cannot be imported as it is; `AutoProcessor` needs it. Needs torch (requirements-dev.txt).
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np
import soundfile
import torch

from emsa_jax.data.mel import log_mel
from emsa_jax.policy import thinker
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.prompt_row import Row

TEXT = (
    "The cat sat on the mat and looked out of the window. It was raining, and the streets of the old city were empty "
    "except for a few people who hurried home from work."
)
QUESTIONS = (
    "What is the capital of France?",
    "Is this review positive or negative? 'The film was a waste of two hours, dull and badly acted.' Answer in a word.",
)
# operators of torchvision that `transformers` never calls
OPERATORS = (
    "nms qnms roi_align qroi_align roi_pool ps_roi_align ps_roi_pool deform_conv2d _roi_align_backward "
    "_roi_pool_backward _ps_roi_align_backward _ps_roi_pool_backward _deform_conv2d_backward"
)


def import_torchvision(directory: str) -> torch.library.Library:
    """Makes torchvision importable beside a torch without CUDA; what is returned has to be kept."""
    sys.path.insert(0, directory)
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS.split():
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


def our_logits(checkpoint, ids, mels=()) -> np.ndarray:
    """[tokens, vocabulary] of one prompt."""
    inputs = build_inputs(checkpoint.config, [Row(list(ids), list(mels))])
    run = jax.jit(lambda params, inputs: thinker.logits(params, None, checkpoint.config, inputs))
    return np.asarray(run(checkpoint.params, inputs))[0, -len(ids) :]


def check_text(root: Path, joined, checkpoint) -> None:
    """Perplexity, answers, and logits of the text model alone, of the Thinker and of ours."""
    import transformers

    llama = transformers.LlamaForCausalLM.from_pretrained(root / "smollm2-135m-instruct", dtype=torch.float32)
    llama = llama.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "smol", trust_remote_code=False)
    ids = tokenizer(TEXT, return_tensors="pt")
    print(f"perplexity of a plain text: {torch.exp(llama(**ids, labels=ids.input_ids).loss).item():.1f}")
    plain, theirs = llama(**ids).logits[0], joined(**ids).logits[0]
    ours = our_logits(checkpoint, ids.input_ids[0].tolist())
    print(f"text logits, Thinker - Llama: at most {(theirs - plain).abs().max().item():.1e}")
    print(f"text logits, ours - transformers: at most {np.abs(ours - plain.numpy()).max():.1e}")
    for question in QUESTIONS:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        answer = joined.generate(**asked, max_new_tokens=24, do_sample=False)[0, asked["input_ids"].shape[1] :]
        print(f"{question} -> {tokenizer.decode(answer, skip_special_tokens=True)}")


def check_audio(root: Path, joined, checkpoint, files: list[Path]) -> None:
    """Cosines of the tower's states to those of Whisper's encoder, which hears 30 s and 80 mel bins."""
    import transformers

    whisper = transformers.WhisperForConditionalGeneration.from_pretrained(
        root / "whisper-base", dtype=torch.float32
    ).eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(root / "whisper-base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "whisper-base", trust_remote_code=False)
    states = []
    joined.model.audio_tower.layers[-1].register_forward_hook(lambda module, given, out: states.append(out[0]))
    for file in files:
        wave = soundfile.read(file, dtype="float32")[0]
        heard = extractor(wave, sampling_rate=16000, return_tensors="pt").input_features
        mel = log_mel(wave)
        encoder = whisper.model.encoder
        full = []
        hook = encoder.layers[-1].register_forward_hook(lambda module, given, out, full=full: full.append(out[0]))
        encoder(heard)
        hook.remove()
        given = torch.from_numpy(mel.T[None])
        joined.get_audio_features(given, torch.ones(1, len(mel), dtype=torch.long))
        whole, ours = full[0].reshape(-1, full[0].shape[-1]), states.pop().reshape(-1, full[0].shape[-1])
        cosine = torch.nn.functional.cosine_similarity(whole[: len(ours)], ours, dim=-1).mean().item()
        prompt = torch.tensor([tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|en|>", "<|transcribe|>"])])
        said = whisper.generate(heard, decoder_input_ids=prompt, max_new_tokens=24, do_sample=False)
        said = tokenizer.decode(said[0], skip_special_tokens=True).strip()
        print(f"{file.name}: cosine to Whisper's states {cosine:.3f}; Whisper hears {said!r}")


def check_processor(root: Path, joined, checkpoint, file: Path) -> None:
    """Logits of a prompt with sound, as AutoProcessor makes it."""
    import transformers

    processor, wave = (
        transformers.AutoProcessor.from_pretrained(root / "smol", trust_remote_code=False),
        soundfile.read(file, dtype="float32")[0],
    )
    chat = [{"role": "user", "content": [{"type": "audio", "audio": "x"}, {"type": "text", "text": "What is said?"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    given = processor(text=text, audio=[wave], return_tensors="pt")
    theirs = joined(**given).logits[0].numpy()
    ours = our_logits(checkpoint, given["input_ids"][0].tolist(), [log_mel(wave)])
    print(f"logits with sound, ours - transformers with AutoProcessor: at most {np.abs(ours - theirs).max():.1e}")


def main() -> None:
    """Prints what is found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--torchvision", default="")
    given = parser.parse_args()
    kept = import_torchvision(given.torchvision) if given.torchvision else None  # before transformers looks for it
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
        given.weights / "smol", dtype=torch.float32, attn_implementation="eager"
    )
    checkpoint = open_checkpoint(given.weights / "smol")
    files = sorted(path for path in given.audio.rglob("*") if path.suffix in (".flac", ".wav"))
    with torch.no_grad():
        check_text(given.weights, model.eval(), checkpoint)
        check_audio(given.weights, model, checkpoint, files[:: max(len(files) // 6, 1)][:6])
        if kept:
            check_processor(given.weights, model, checkpoint, files[0])


if __name__ == "__main__":
    main()
