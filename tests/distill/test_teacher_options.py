"""Secrets stay out of what a distillation writes down."""

import json

import pytest

from emsa_jax.distill.teacher_options import TeacherOptions
from emsa_jax.errors import InputError


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "abc"},
        {"apiKey": "abc"},
        {"key": "abc"},
        {"x-api-key": "abc"},
        {"extra_headers": {"Authorization": "abc"}},
        {"plugins": [{"auth_token": "abc"}]},
        {"access-token": "abc"},
        {"user": {"password": "abc"}},
        {"metadata": {"note": "Bearer abc"}},
        {"metadata": {"note": ["sk-abc"]}},
        {"metadata": {"note": "hf_abc"}},
        {"metadata": {"note": "the-key-of-the-environment"}},
        {"metadata": {"the-key-of-the-environment": 1}},
        {"metadata": {"note": "mine is sk-abc0123456789"}},
        {"proxy": "http://me:abc@x.org"},
        {"callback": "https://x.org/done?token=abc"},
        {"pwd": "abc"},
        {"note": "-----BEGIN RSA PRIVATE KEY-----"},
    ],
)
def test_secrets_in_extra_are_refused_and_not_repeated(monkeypatch, fields):
    monkeypatch.setenv("OPENAI_API_KEY", "the-key-of-the-environment")
    with pytest.raises(InputError, match="teacher.extra holds what looks like a key") as caught:
        TeacherOptions(extra=json.dumps(fields))
    assert "abc" not in str(caught.value) and "the-key" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"stop_token_ids": [7], "min_tokens": 3, "skip_special_tokens": False, "top_k": 5},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"response_format": {"type": "json_object"}, "modalities": ["text"], "stop": "</answer>"},
        {"logit_bias": {"50256": -100}, "bad_words": ["key", "token"], "mm_processor_kwargs": {"fps": 2}},
    ],
)
def test_what_is_no_secret_is_sent(fields):
    assert TeacherOptions(extra=json.dumps(fields)).extra_fields == fields


@pytest.mark.parametrize(
    "given",
    [
        {"model": "sk-0123456789"},
        {"url": "http://x.org/v1/hf_0123456789"},
        {"url": "http://me:0123456789@x.org/v1"},
        {"url": "http://x.org/v1?api_key=0123456789"},
        {"key_env": "sk-0123456789"},
        {"model": "mine/the-0123456789-key"},
        {"url": "http://x.org/the-0123456789-key/v1"},
        {"url": "http://x.org/%73k-0123456789/v1"},
        {"url": "http://x.org/v1;key=0123456789"},
    ],
)
def test_secrets_in_other_fields_are_refused_and_not_repeated(monkeypatch, given):
    monkeypatch.setenv("OPENAI_API_KEY", "the-0123456789-key")
    with pytest.raises(InputError, match="teacher") as caught:
        TeacherOptions(**given)
    assert "0123456789" not in str(caught.value)


def test_a_key_is_seen_however_it_is_written(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "the-key-of-the-environment")
    with pytest.raises(InputError, match="teacher.extra holds what looks like a key"):
        TeacherOptions(extra='{"note": "the-\\u006bey-of-the-environment"}')


@pytest.mark.parametrize("extra", ["[" * 10**5, '{"a": NaN}', "[]", "{"])
def test_fields_of_a_request_are_an_object_of_json(extra):
    with pytest.raises(InputError, match="teacher.extra must be a JSON object"):
        TeacherOptions(extra=extra)


def test_models_with_common_names_are_none():
    assert TeacherOptions(model="Qwen/Qwen2.5-Omni-7B", url="http://x.org/api/v1").model
