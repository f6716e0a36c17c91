"""Media tokens in tokenizers of text models, and chat templates that take media."""

import json

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from emsa_jax.errors import InputError
from emsa_jax.policy.media_tokens import MEDIA_TOKENS, with_media_tokens
from emsa_jax.policy.tiny import make_tiny

MEDIA = [{"role": "user", "content": [{"type": "video"}, {"type": "audio"}, {"type": "text", "text": "In 12 words"}]}]
PLACEHOLDERS = "<|vision_bos|><|VIDEO|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|>"
WORDS = "In 1989,  12 people said: ünïcode 你好\n"


def test_unused_special_tokens_become_media_tokens(tmp_path, write_tokenizer):
    rows = write_tokenizer(tmp_path)
    found = with_media_tokens(tmp_path, rows)
    media = dict(zip((field for _, field in MEDIA_TOKENS.values()), range(3, 10), strict=True))
    assert found.ids == media | dict(bos_token_id=1, eos_token_id=2, pad_token_id=2, user_token_id=2)
    assert found.rows == rows and found.choice.startswith("in place of 3 <repo_name>, 4 <reponame>")
    before, tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path), found.tokenizer
    assert tokenizer(WORDS)["input_ids"] == before(WORDS)["input_ids"]
    assert tokenizer.tokenize("12") == ["1", "2"] and tokenizer.decode(tokenizer(WORDS)["input_ids"]) == WORDS
    assert tokenizer("<repo_name>")["input_ids"] != [3] and tokenizer("<|AUDIO|>")["input_ids"] == [3]
    assert (tokenizer.audio_token, tokenizer.audio_token_id) == ("<|AUDIO|>", 3)  # what a processor asks for


def test_saved_and_loaded_again_under_the_thinkers_name(tmp_path, write_tokenizer):
    """AutoTokenizer would put the rule of a text model's class in the place of the tokenizer's own."""
    (tmp_path / "text").mkdir()
    found = with_media_tokens(tmp_path / "text", write_tokenizer(tmp_path / "text"))
    found.tokenizer.save_pretrained(tmp_path / "out")
    for kind in ("qwen2_5_omni_thinker", "emsa_policy"):
        (tmp_path / "out" / "config.json").write_text(json.dumps({"model_type": kind}))
        loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
        assert loaded(WORDS)["input_ids"] == found.tokenizer(WORDS)["input_ids"]
        assert (
            loaded.video_token_id == found.ids["video_token_id"]
            and loaded.chat_template == found.tokenizer.chat_template
        )


def test_new_tokens_take_free_rows_then_new_ones(tmp_path, write_tokenizer):
    used = write_tokenizer(tmp_path)
    roomy = with_media_tokens(tmp_path, used + 10)  # as Qwen2.5, whose embedding is larger than its vocabulary
    assert roomy.ids["audio_token_id"] == used and roomy.rows == used + 10
    assert roomy.choice == f"new, ids {used} to {used + 6}"
    added = with_media_tokens(tmp_path, used, "add")
    assert added.ids["video_token_id"] == used + 6 and added.rows == used + 7
    assert added.tokenizer("a<|VIDEO|>")["input_ids"][1:] == [used + 6]
    assert added.tokenizer("<repo_name>")["input_ids"] == [3]  # nothing was renamed
    reused = with_media_tokens(tmp_path, used + 10, "reuse")
    assert reused.ids["audio_token_id"] == 3


def test_a_token_with_a_use_is_not_taken(tmp_path, write_tokenizer):
    """The chat template's, and the ends of a generation."""
    rows = write_tokenizer(tmp_path, template="{# <file_sep> #}")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 4]}))
    added = with_media_tokens(tmp_path, rows)  # five are left, and no free rows
    assert added.rows == rows + 7
    message = r"no room for media tokens: 7 are needed, but only 5 of its special tokens are unused"
    with pytest.raises(InputError, match=message):
        with_media_tokens(tmp_path, rows, "reuse")


def test_tokens_that_are_there_are_taken(tmp_path):
    make_tiny(tmp_path / "tiny", ["some words"], seed=0)
    found = with_media_tokens(tmp_path / "tiny", 1024)
    assert found.choice == "the tokenizer has them" and found.ids["audio_token_id"] == 3
    assert not found.tokenizer.chat_template.startswith("{% set")  # which takes media already


def rendered(tokenizer, messages):
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_the_text_models_template_takes_media(tmp_path, write_tokenizer):
    tokenizer = with_media_tokens(tmp_path, write_tokenizer(tmp_path)).tokenizer
    system = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}]
    user = f"<|im_start|>user\n{PLACEHOLDERS}In 12 words<|im_end|>\n<|im_start|>assistant\n"
    assert rendered(tokenizer, MEDIA) == f"<|im_start|>system\nYou help.<|im_end|>\n{user}"
    assert rendered(tokenizer, system + MEDIA) == f"<|im_start|>system\nBe brief.<|im_end|>\n{user}"
    plain = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "<b>&"}]
    before = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert rendered(tokenizer, plain) == rendered(before, plain)


def test_templates_that_are_given_or_missing(tmp_path, write_tokenizer):
    rows = write_tokenizer(tmp_path, template=None)
    chatml = with_media_tokens(tmp_path, rows).tokenizer
    user = f"<|im_start|>user\n{PLACEHOLDERS}In 12 words<|im_end|>\n<|im_start|>assistant\n"
    assert rendered(chatml, MEDIA) == user
    assert rendered(with_media_tokens(tmp_path, rows, template="mine").tokenizer, MEDIA) == "mine"
    bare = tmp_path / "bare"
    bare.mkdir()
    rows = write_tokenizer(bare, special=("<s>",), template=None, bos_token="<s>", eos_token="<s>", unk_token="<s>")
    with pytest.raises(InputError, match="no chat template; name one, --config.chat_template=FILE"):
        with_media_tokens(bare, rows)


def test_bad_tokenizers(tmp_path, write_tokenizer):
    with pytest.raises(InputError, match=r"tokenizer.json: is missing"):
        with_media_tokens(tmp_path, 300)
    rows = write_tokenizer(tmp_path)
    with pytest.raises(InputError, match=f"has {rows} tokens, but the text model only {rows - 1}"):
        with_media_tokens(tmp_path, rows - 1)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="no tokenizer can be loaded from it"):
        with_media_tokens(tmp_path, rows)


def test_a_message_may_be_a_string_or_parts(tiny_policy):
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    as_string, as_parts = (
        tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        for content in ("I am glad.", [{"type": "text", "text": "I am glad."}])
    )
    assert as_string == as_parts and "I am glad." in as_string
