"""A text model's tokenizer and chat template become those of a policy that hears and sees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.policy.stop_ids import GENERATION_CONFIG

if TYPE_CHECKING:  # which takes seconds to load
    from transformers import PreTrainedTokenizerFast

# named field of the tokenizer, as `Qwen2_5OmniProcessor` reads it -> (token, field of ThinkerConfig)
MEDIA_TOKENS = {
    "audio_token": ("<|AUDIO|>", "audio_token_id"),
    "audio_bos_token": ("<|audio_bos|>", "audio_start_token_id"),
    "audio_eos_token": ("<|audio_eos|>", "audio_end_token_id"),
    "vision_bos_token": ("<|vision_bos|>", "vision_start_token_id"),
    "vision_eos_token": ("<|vision_eos|>", "vision_end_token_id"),
    "image_token": ("<|IMAGE|>", "image_token_id"),
    "video_token": ("<|VIDEO|>", "video_token_id"),
}
PART = (  # of a message, as text
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif part['type'] == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% endif %}"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}" + PART + "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# stands before the template of a text model, which takes messages of text alone
TO_TEXT = (
    "{% set said = namespace(messages=[]) %}{% for message in messages %}"
    "{% if message['content'] is string %}{% set content = message['content'] %}"
    "{% else %}{% set content %}{% for part in message['content'] %}" + PART + "{% endfor %}{% endset %}{% endif %}"
    "{% set said.messages = said.messages + [{'role': message['role'], 'content': content}] %}"
    "{% endfor %}{% set messages = said.messages %}"
)


@dataclass(frozen=True)
class MediaTokenizer:
    """A tokenizer that has media tokens.

    Attributes:
      tokenizer: of `transformers`, with a chat template that takes media.
      ids: fields of ThinkerConfig that hold ids of tokens.
      rows: rows that the embedding needs.
      choice: in one line, where the media tokens come from.
    """

    tokenizer: Any
    ids: dict[str, int]
    rows: int
    choice: str


def with_media_tokens(directory: str | Path, rows: int, how: str = "auto", template: str = "") -> MediaTokenizer:
    """The tokenizer of a text model with the media tokens of Qwen2.5-Omni, whose names it gets.

    Tokens that have these names are taken. Otherwise "reuse" renames special tokens for which neither the chat template
    nor the end of a text has a use, in the order of their ids; "add" makes new ones, in rows of the embedding that no
    token has, or in further rows; "auto" takes the first that costs no row: free rows, reuse, further rows.

    Args:
      directory: of the text model, with tokenizer.json.
      rows: of its embedding.
      how: "auto", "reuse" or "add".
      template: a chat template that takes media, in place of the one that is made (default: the text model's, before
        which media become text; ChatML where it has none).

    Raises: InputError naming the directory and what it lacks.
    """
    from tokenizers import Tokenizer

    loaded = _load(directory)
    raw = json.loads(loaded.backend_tokenizer.to_str())
    vocabulary = loaded.get_vocab()
    if max(vocabulary.values()) >= rows:
        raise InputError(
            f"{directory}: the tokenizer has {max(vocabulary.values()) + 1} tokens, but the text model only {rows}: "
            "it belongs to another model"
        )
    loaded.chat_template = template or _chat_template(directory, loaded)
    wanted = [token for token, _ in MEDIA_TOKENS.values() if token not in vocabulary]
    unused = _unused(directory, loaded, raw)
    first = max(vocabulary.values()) + 1
    reuse = how == "reuse" or (how == "auto" and first + len(wanted) > rows and len(unused) >= len(wanted))
    if not wanted:
        choice = "the tokenizer has them"
    elif reuse:
        if len(unused) < len(wanted):
            raise InputError(
                f"{directory}: the tokenizer has no room for media tokens: {len(wanted)} are needed, but only "
                f"{len(unused)} of its special tokens are unused; --config.media_tokens=add makes new ones"
            )
        old = dict(zip(unused, wanted, strict=False))
        _rename(raw, old)
        choice = "in place of " + ", ".join(f"{vocabulary[name]} {name}" for name in old)
    else:
        raw["added_tokens"] += [_token(first + i, token) for i, token in enumerate(wanted)]
        rows = max(rows, first + len(wanted))
        choice = f"new, ids {first} to {first + len(wanted) - 1}"
    tokenizer = _wrap(loaded, Tokenizer.from_str(json.dumps(raw)))
    return MediaTokenizer(tokenizer, _ids(tokenizer), rows, choice)


def _load(directory: str | Path) -> PreTrainedTokenizerFast:
    """The directory's tokenizer.json as it is: a model's class could put a rule of its own in its place."""
    from transformers import PreTrainedTokenizerFast

    if not (path := Path(directory) / "tokenizer.json").exists():
        raise InputError(f"{path}: is missing; media tokens are added to a tokenizer in this form")
    try:
        loaded = PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the libraries raise many kinds, all of them about the files
        line = str(error).strip().split("\n")[0]
        raise InputError(f"{directory}: no tokenizer can be loaded from it ({line})") from error
    if not loaded.eos_token:
        raise InputError(f"{directory}/tokenizer_config.json: eos_token is missing, the end of an answer")
    return loaded


def _chat_template(directory: str | Path, tokenizer: Any) -> str:
    """The text model's template, made to take media where it does not."""
    if not tokenizer.chat_template:
        if not {"<|im_start|>", "<|im_end|>"} <= tokenizer.get_vocab().keys():
            raise InputError(f"{directory}: the tokenizer has no chat template; name one, --config.chat_template=FILE")
        return CHAT_TEMPLATE
    return tokenizer.chat_template if _takes_media(tokenizer) else TO_TEXT + tokenizer.chat_template


def _takes_media(tokenizer: Any) -> bool:
    """Whether a template writes a sound's and a video's placeholder."""
    parts = [{"type": "audio", "audio": ""}, {"type": "video", "video": ""}, {"type": "text", "text": "?"}]
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    except Exception:  # a template is a program: it may fail in any way
        return False
    return all(MEDIA_TOKENS[name][0] in text for name in ("audio_token", "video_token"))


def _unused(directory: str | Path, tokenizer: Any, raw: dict) -> list[str]:
    """Special tokens that end nothing, fill nothing, and are not in the chat template, by id."""
    used = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    ends = (read_object(Path(directory) / GENERATION_CONFIG) or {}).get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    return [
        token["content"]
        for token in sorted(raw["added_tokens"], key=lambda token: token["id"])
        if token["special"]
        and token["content"] not in used
        and token["id"] not in ends
        and token["content"] not in tokenizer.chat_template
        and token["content"] not in {name for name, _ in MEDIA_TOKENS.values()}
    ]


def _rename(raw: dict, names: dict[str, str]) -> None:
    """Renames tokens of a tokenizer.json's content, in place: the ids stay."""
    for token in raw["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    vocabulary = raw["model"]["vocab"]
    raw["model"]["vocab"] = {names.get(token, token): i for token, i in vocabulary.items()}


def _token(i: int, content: str) -> dict[str, Any]:
    return dict(
        id=i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True
    )  # fmt: skip


def _wrap(loaded: Any, backend: Any) -> PreTrainedTokenizerFast:
    """The tokenizer with the settings of the one that it was made of, and the names that a processor asks for."""
    from transformers import PreTrainedTokenizerFast

    named = {name: value for name, value in loaded.special_tokens_map.items() if name.endswith("_token")}
    named["pad_token"] = loaded.pad_token or loaded.eos_token
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=loaded.chat_template,
        padding_side="left",
        model_max_length=loaded.model_max_length,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={name: token for name, (token, _) in MEDIA_TOKENS.items()},
        **named,
    )


def _ids(tokenizer: Any) -> dict[str, int]:
    found = {field: tokenizer.convert_tokens_to_ids(token) for token, field in MEDIA_TOKENS.values()}
    bos = tokenizer.bos_token_id
    return found | dict(
        bos_token_id=tokenizer.eos_token_id if bos is None else bos,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        user_token_id=tokenizer.get_vocab().get("user", tokenizer.eos_token_id),
    )
