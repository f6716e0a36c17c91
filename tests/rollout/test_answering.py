import functools
from dataclasses import replace

import jax
import numpy as np
import pytest

from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError
from emsa_jax.evaluation.predictions import summarize
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.inputs import abstract_inputs
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.preprocessor import Preprocessor
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig
from emsa_jax.rollout.answering import answer, asked_clips, compile_answers, expect_scores, predict
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import Prompter, answer_texts
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import EVALUATION, Completions

LETTERS = "\x00\x01abcdefghijklmnop"  # ids 0 to 17: padding, end, words
CONFIG = ThinkerConfig(
    text=TextConfig(
        vocab_size=24,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        mrope_section=(1, 1, 0),
        rope_theta=100.0,
    ),
    audio=AudioConfig(
        num_mel_bins=4,
        d_model=8,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=8,
        n_window=4,
        output_dim=16,
    ),
    vision=VisionConfig(
        depth=1,
        hidden_size=8,
        intermediate_size=8,
        num_heads=2,
        patch_size=2,
        window_size=8,
        fullatt_block_indexes=(0,),
        out_hidden_size=16,
    ),
    audio_token_id=20,
    image_token_id=18,
    video_token_id=19,
    audio_start_token_id=20,
    audio_end_token_id=21,
    vision_start_token_id=22,
    vision_end_token_id=23,
    bos_token_id=2,
    eos_token_id=1,
    pad_token_id=0,
    user_token_id=3,
)
WORDS = ["a", "bcd", "o", "defghijklmno", "e", "bca", "nmlkjihgfedcba", "bb", "aaaaa", "cab"]


class Letters:
    """A tokenizer of one letter a token; V and A are the media's placeholders."""

    added_tokens_decoder, all_special_ids, unk_token_id, unk_token = {}, [], None, None

    def __len__(self):
        return 24

    def apply_chat_template(self, chat, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        parts = [part for message in chat if message["role"] == "user" for part in message["content"]]
        return "".join(
            {"video": "V", "audio": "A"}.get(part["type"]) or part["text"][-len("Words: ") - 20 :] for part in parts
        )

    def __call__(self, text, add_special_tokens, return_offsets_mapping=False):
        ids = [{"V": 19, "A": 20}.get(c) or LETTERS.find(c) for c in text]
        known = [at for at, i in enumerate(ids) if i >= 0]
        return {"input_ids": [ids[at] for at in known], "offset_mapping": [(at, at + 1) for at in known]}

    def decode(self, ids, **options):
        assert options == {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return "".join(LETTERS[i] if i < len(LETTERS) else f"<{i}>" for i in ids)


class Format:
    """Asks nothing."""

    def ask(self, modalities, language):
        return ""


@pytest.fixture(scope="module")
def split():
    """Ten clips: words, some with pictures, some with sound, prompts of two lengths."""
    rng = np.random.default_rng(0)
    clips = []
    for i, words in enumerate(WORDS):
        frames = rng.integers(0, 255, ((3 if i % 3 == 1 else 0), 8, 4, 3)).astype(np.uint8)
        mel = rng.standard_normal((11 if i % 4 == 2 else 0, 4)).astype(np.float32)
        clips.append(Clip(str(i), words, 0.5, "test", "en", frames, 2.0, mel))
    entries = [Entry(c.id, c.text, c.score, c.split, c.language, len(c.frames), 8, 4, 2.0, len(c.mel)) for c in clips]
    params = init_params(CONFIG, jax.random.key(1))
    prompter = Prompter(Checkpoint(None, CONFIG, params, Letters(), Preprocessor()), Format(), PromptOptions())
    lengths = np.array([prompter.length(entry) for entry in entries])
    buckets = (int(np.median(lengths)), int(lengths.max()))
    prompter = replace(prompter, options=PromptOptions(buckets=buckets))
    order = rng.permutation(len(clips))  # where the records lie
    source = [clips[i] for i in np.argsort(order)]
    return Split(None, prompter, entries, lengths, source, order)


@pytest.fixture(scope="module")
def ask(split):
    """run(batch size, sampling, group) as `predict` wants it, and the batches it was asked for."""

    @functools.cache
    def program(sampling, group_size):
        function = functools.partial(answer, config=CONFIG, sampling=sampling, group_size=group_size)
        return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"})

    def make(sampling, group_size, seen=None):
        def run(bucket, inputs, noise, prompt_ids):
            if seen is not None:
                seen.append((bucket, inputs.tokens.shape, noise.tolist(), prompt_ids.tolist()))
            return program(sampling, group_size)(split.prompter.checkpoint.params, None, inputs, noise, prompt_ids)

        return run

    return make


def by_index(batches):
    return {
        i: (group, ended.tolist())
        for indices, texts, done in batches
        for i, group, ended in zip(indices, texts, done, strict=True)
    }


GREEDY = SamplingOptions(temperature=0.0, max_completion_length=6)


def test_lengths_are_known_before_anything_is_decoded(split):
    for i, length in enumerate(split.lengths):
        assert len(split.prompter.row(split[i]).tokens) == length and split[i].text == WORDS[i]
    assert len(set(split.lengths > split.buckets()[0])) == 2


def test_each_clip_once_in_the_bucket_that_holds_it(split, ask):
    seen = []
    batches = list(predict(split, ask(GREEDY, 1, seen), 4, seed=7))
    assert sorted(i for indices, _, _ in batches for i in indices) == list(range(10))
    for (indices, texts, ended), (bucket, shape, noise, prompt_ids) in zip(batches, seen, strict=True):
        smaller = [b for b in split.buckets() if b < bucket]
        assert all(max(smaller, default=0) < split.lengths[i] <= bucket for i in indices)
        rows = asked_clips(split, 4)[bucket].rows
        assert shape == (rows, bucket) and noise == [7, 0, EVALUATION]
        assert prompt_ids[: len(indices)] == indices and len(texts) == len(ended) == len(indices)
    assert {bucket for bucket, *_ in seen} == set(split.buckets())
    assert any(len(indices) < 4 for indices, _, _ in batches)


def test_answers_do_not_depend_on_the_batch_size(split, ask):
    """With media packed in other company."""
    four, ten = (by_index(predict(split, ask(GREEDY, 1), size, seed=3)) for size in (4, 10))
    assert four == ten and four.keys() == set(range(10))
    assert len({answers[0] for answers, _ in four.values()}) > 3


def test_sampled_answers_do_not_depend_on_the_batches_either(split, ask):
    """Nor on which clips are asked about at once: what was answered before need not be asked again."""
    hot = SamplingOptions(max_completion_length=6)
    whole = by_index(predict(split, ask(hot, 3), 10, seed=3))
    first = by_index(predict(split, ask(hot, 3), 4, seed=3, members=[7, 2, 4]))
    rest = by_index(predict(split, ask(hot, 3), 3, seed=3, members=[0, 1, 3, 5, 6, 8, 9]))
    assert first.keys() == {2, 4, 7} and first | rest == whole
    assert any(len(set(texts)) > 1 for texts, _ in whole.values())
    assert list(predict(split, ask(hot, 3), 4, seed=3, members=[])) == []


def test_one_long_clip_sets_its_own_shape_alone(split, ask):
    """And the answers are those of one bucket that holds everything, in whole batches."""
    rng, prompter = np.random.default_rng(1), replace(split.prompter, options=PromptOptions())
    clips = [replace(split[i], text=split[i].text[:3]) for i in range(len(split))]
    clips[3] = replace(clips[3], text="abc" * 40, mel=rng.standard_normal((400, 4)).astype(np.float32))
    entries = [Entry(c.id, c.text, c.score, c.split, c.language, len(c.frames), 8, 4, 2.0, len(c.mel)) for c in clips]
    lengths = np.array([prompter.length(entry) for entry in entries])
    whole = Split(None, prompter, entries, lengths, clips, np.arange(len(clips)))
    one = replace(whole, prompter=replace(prompter, options=PromptOptions(buckets=(int(lengths.max()),))))
    short, long = asked_clips(whole, 8).values()
    assert long.indices.tolist() == [3] and long.rows == 1 and long.shape.chunks == 50
    assert short.rows == 5 and len(short.indices) == 9  # two batches, one row in vain
    assert short.shape.prompt < long.shape.prompt / 4 and short.shape.chunks <= 2 * 2
    seen = []
    found = by_index(predict(whole, ask(GREEDY, 1, seen), 8, seed=3))
    assert [shape for _, shape, *_ in seen] == [(5, short.shape.prompt)] * 2 + [(1, long.shape.prompt)]
    assert found == by_index(predict(one, ask(GREEDY, 1), 8, seed=3)) and found.keys() == set(range(10))
    assert asked_clips(whole, 8, members=[3, 5])[short.shape.prompt].rows == 1  # what is left after a kill
    assert [one.rows for one in asked_clips(whole, 8, num_shards=4).values()] == [8, 4]


def test_expected_scores_do_not_depend_on_the_batches(split):
    """Nor on how long the reasoning of others is; what has no place for a score has none."""

    class Scored(Format):
        def score_ends(self):
            return ((-1.0, "a"), (0.5, "ab"), (1.0, "c"))

        def before_score(self, text):
            return None if text == "n" else text

    class Programs:
        def add(self, name, function, *arguments, label, out):
            added.append((label, arguments[-2].shape))
            return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"})

    def ask(size, members=None):
        found = expect_scores(
            scored,
            Programs(),
            split.prompter.checkpoint.params,
            None,
            texts,
            batch_size=size,
            inputs=lambda shape, rows: abstract_inputs(CONFIG, shape, rows),
            members=members,
        )
        return {i: group for indices, scores in found for i, group in zip(indices, scores[:, 0].tolist(), strict=True)}

    added = []
    scored = replace(split, prompter=replace(split.prompter, format=Scored()))
    texts = [["abc" * i] if i != 4 else ["n"] for i in range(len(split))]
    whole = ask(10)
    short, long = asked_clips(scored, 10).items()
    assert [label for label, _ in added] == [f"expected/{short[0]}", f"expected/{long[0]}"]
    assert all(
        shape[2] % 16 == 0 and shape[:2] == (one.rows, 1)
        for (_, shape), (_, one) in zip(added, (short, long), strict=True)
    )
    assert whole.keys() == set(range(10)) and np.isnan(whole.pop(4)) and len(set(whole.values())) == 9
    some = ask(3) | ask(1, members=[6])
    assert {i: pytest.approx(score, abs=1e-5) for i, score in whole.items()} == {i: some[i] for i in whole}


def test_programs_are_named_after_prompt_lengths(split):
    added = {}

    class Programs:
        def add(self, name, function, *arguments, label, out):
            added[label] = arguments
            return name

    checkpoint = split.prompter.checkpoint
    shapes = {bucket: abstract_inputs(checkpoint.config, split.input_shape(bucket, 4), 4) for bucket in split.buckets()}
    compiled = compile_answers(
        Programs(),
        "greedy",
        checkpoint.params,
        None,
        checkpoint.config,
        inputs=shapes,
        sampling=GREEDY,
        group_size=1,
    )
    assert compiled == dict.fromkeys(split.buckets(), "greedy")
    assert list(added) == [f"greedy/{bucket}" for bucket in split.buckets()]
    for bucket in split.buckets():
        _, _, inputs, noise, ids = added[f"greedy/{bucket}"]
        real = split.prompter.inputs([split[0]], split.input_shape(bucket, 4), 4)
        asked, made = (jax.tree.map(lambda t: (t.shape, t.dtype), x) for x in (inputs, real))
        assert asked == made
        assert noise.shape == (3,) and ids.shape == (4,)


def test_probabilities_that_are_not_finite_are_refused_with_the_clip(split):
    def run(bucket, inputs, noise, prompt_ids, wrong):
        shape = (len(prompt_ids), 1, 3)
        logps = np.where((prompt_ids == 6)[:, None, None], wrong, np.full(shape, -0.5))
        return Completions(np.ones(shape, int), logps, np.ones(shape[:2], int), np.ones(shape[:2], bool), None)

    for wrong in (np.nan, -np.inf):
        answers = functools.partial(run, wrong=wrong)
        with pytest.raises(InputError, match="clip 6 are not finite"):
            list(predict(split, answers, 3, seed=0))
        assert len(by_index(predict(split, answers, 3, seed=0, members=[0, 1, 9]))) == 3


def test_texts_stop_where_answers_stop(split):
    tokens = np.array([[[2, 3, 1, 0], [2, 1, 3, 4]], [[1, 0, 0, 0], [22, 2, 1, 0]]])
    done = Completions(tokens, None, np.array([[3, 4], [1, 3]]), np.array([[True, False], [True, True]]), None)
    assert answer_texts(split.prompter.checkpoint, done, 2) == [["ab", "a\x01bc\x00"], ["", "<22>a\x00"]]
    assert answer_texts(split.prompter.checkpoint, done, 1) == [["ab", "a\x01bc\x00"]]


def test_a_reward_need_not_apply_to_every_clip():
    row = {
        "target": 0.5,
        "target_polarity": "Positive",
        "polarity": "Positive",
        "score": 0.5,
        "well_formed": True,
        "think": None,
        "shown": [],
        "about": {},
    }
    rows = [row | {"rewards": {"format": 1.0, "mine": mine, "never": None}} for mine in (0.25, None, 0.75)]
    rows.append(row | {"target": None, "rewards": {"format": 0.0, "mine": 9.0, "never": None}})
    assert summarize(rows, (-1.0, 1.0), "neutral", 0.0, [])["rewards"] == {"format": 1.0, "mine": 0.5, "never": None}
