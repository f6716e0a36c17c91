"""A policy's tokenizer: opened and tried out, and kept from reading commands in text that comes from outside.

A command is a token that means something to the policy beyond the text that it spells: special tokens, placeholders of
media, ends of turns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.policy.hf_config import OWN, read_json_config
from emsa_jax.policy.stop_ids import with_ids
from emsa_jax.policy.thinker_config import ThinkerConfig

if TYPE_CHECKING:  # which takes seconds to load
    from transformers import PreTrainedTokenizerBase

ROUNDS = 100  # of writing a text differently
WORDS = "some plain words"  # of the chat with which a template is tried out
QUESTION = 'other words, "more" <b>& some</b>\nin a second line'
ADVICE = (
    "write a chat_template.jinja that reads message['content'] as a list of parts and has a placeholder for each "
    "medium, or let configs/assemble.py make one"
)


def read_tokenizer(directory: str | Path, config: ThinkerConfig) -> PreTrainedTokenizerBase:
    """The directory's tokenizer, with a chat template that renders messages with the policy's media. No code of the
    directory is run. Raises: InputError naming the directory, and what to do."""
    from transformers import AutoTokenizer, PretrainedConfig

    directory = Path(directory)
    # transformers knows no model of our own layout, and need not: the tokenizer's files say what it is
    named = {"config": PretrainedConfig()} if read_json_config(directory).get("model_type") == OWN else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **named)
    except Exception as error:  # transformers raises many kinds, all of them about the files
        line = str(error).strip().split("\n")[0]
        if "trust_remote_code" in str(error):
            line = "it wants code of its own to be run (auto_map), and none is run; take a copy with tokenizer.json"
        raise InputError(f"{directory}: no tokenizer can be loaded from it ({line})") from error
    if not tokenizer.chat_template:
        path = directory / "chat_template.json"
        tokenizer.chat_template = (read_object(path) or {}).get("chat_template")
        if path.exists() and not isinstance(tokenizer.chat_template, str):
            raise InputError(f"{path}: holds no readable chat_template")
    if not tokenizer.chat_template:
        raise InputError(f"{directory}: the tokenizer has no chat template; {ADVICE}")
    tokens = 1 + max([len(tokenizer) - 1, *tokenizer.get_vocab().values(), *tokenizer.added_tokens_decoder])
    if tokens > config.text.vocab_size:
        raise InputError(
            f"{directory}: the tokenizer has {tokens} tokens, but the policy only "
            f"{config.text.vocab_size}: it belongs to another policy"
        )
    _try_template(tokenizer, config, directory)
    return tokenizer


def _try_template(tokenizer: PreTrainedTokenizerBase, config: ThinkerConfig, directory: Path) -> None:
    """Renders a chat with every medium of the policy, which has to come back with one placeholder each."""
    media = {"video": (config.vision, config.video_token_id), "audio": (config.audio, config.audio_token_id)}
    media = {kind: id for kind, (tower, id) in media.items() if tower}
    try:
        rendered = render_chat(tokenizer, config, _trial(media))
    except Exception as error:  # whatever a template makes of parts that it does not expect
        line = str(error).strip().split("\n")[0]
        raise InputError(f"{directory}: the chat template expects text alone ({line}); {ADVICE}") from error
    try:  # with the places of tokens, which some kinds of tokenizers cannot tell
        ids = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)["input_ids"]
    except Exception as error:  # the library raises bare ones
        line = str(error).strip().split("\n")[0]
        raise InputError(f"{directory}: its tokenizer cannot read a chat ({line}); bring a tokenizer.json") from error
    if QUESTION.split(",")[0] not in rendered or "'type'" in rendered:
        raise InputError(f"{directory}: the chat template does not read content in parts; {ADVICE}")
    for kind, id in media.items():
        found = ids.count(id) if id in tokenizer.added_tokens_decoder else 0
        if found != 1:
            raise InputError(
                f"{directory}: the chat template gives {found} placeholders ({kind}_token_id {id}) for one {kind}; "
                f"{ADVICE}, or correct the id in config.json"
            )
    for role, text in (("system", WORDS), ("user", QUESTION)):
        if (times := rendered.count(text)) != 1:
            raise InputError(
                f"{directory}: the chat template gives the text of the {role} {times} times, or not as it is; {ADVICE}"
            )


def _trial(media: Iterable[str]) -> list[dict]:
    """A chat with some media."""
    question = [*({"type": kind} for kind in media), {"type": "text", "text": QUESTION}]
    return [{"role": "system", "content": [{"type": "text", "text": WORDS}]}, {"role": "user", "content": question}]


def render_chat(
    tokenizer: PreTrainedTokenizerBase, config: ThinkerConfig, chat: list[dict], to_answer: bool = True
) -> str:
    """A chat, whose messages have content in parts, as one text; with `to_answer` up to where an answer begins.

    Templates of text models want a message's content as text, those of policies that see or hear as a list of parts.
    """
    render = functools.partial(tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=to_answer)
    if config.text_alone:
        plain = [m | {"content": "".join(part["text"] for part in m["content"])} for m in chat]
        rendered = render(plain)
        if all(message["content"].strip() in rendered for message in plain):
            return rendered
    return render(chat)


def with_turn_end(config: ThinkerConfig, tokenizer: PreTrainedTokenizerBase) -> ThinkerConfig:
    """The config whose taught answers end as the chat template ends an answer, where that is one token; it is a stop
    id then, if it was none."""
    chat = [{"role": role, "content": [{"type": "text", "text": WORDS}]} for role in ("user", "assistant")]
    try:
        rendered = render_chat(tokenizer, config, chat, to_answer=False)
    except Exception:  # a template may refuse such a chat: then the files' ids stand
        return config
    end = tokenizer(rendered.rpartition(WORDS)[2].lstrip(), add_special_tokens=False)["input_ids"][:1]
    return with_ids(config, (*end, *config.stop_ids)) if end and end[0] in commands(tokenizer) else config


def commands(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens of a tokenizer that are special."""
    marked = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(marked.union(tokenizer.all_special_ids))


@functools.lru_cache(maxsize=8)
def all_commands(tokenizer: PreTrainedTokenizerBase, config: ThinkerConfig) -> frozenset[int]:
    """The tokens that mean something to the policy beyond their text: special ones, media's, ends of answers."""
    names = ("audio", "image", "video", "audio_start", "audio_end", "vision_start", "vision_end")
    return commands(tokenizer).union(config.stop_ids, (getattr(config, f"{name}_token_id") for name in names)) - {-1}


@functools.lru_cache(maxsize=8)
def _of_turns(tokenizer: PreTrainedTokenizerBase, config: ThinkerConfig) -> frozenset[int]:
    """The tokens that a template puts around the text of a chat, where text cannot spell them: special or not."""
    ids = tokenizer(render_chat(tokenizer, config, _trial(())), add_special_tokens=False)["input_ids"]
    return frozenset(tokenizer.added_tokens_decoder).intersection(ids)


def plain_text(tokenizer: PreTrainedTokenizerBase, config: ThinkerConfig, text: str) -> str:
    """The text with a space inside of whatever the tokenizer would read as a command, however it is spelt there. All
    other text stays as it is, and so do its tokens.

    Raises: InputError for a text that holds a command whatever is done.
    """
    known, unknown = all_commands(tokenizer, config) | _of_turns(tokenizer, config), tokenizer.unk_token_id
    for _ in range(ROUNDS):
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = [
            (start, end)
            for id, (start, end) in zip(read["input_ids"], read["offset_mapping"], strict=True)
            # the unknown token also stands for characters that the vocabulary does not have
            if id in known and (id != unknown or text[start:end].strip() == tokenizer.unk_token)
        ]
        if not spans:
            return text
        for start, end in reversed(spans):
            text = text[:start] + _apart(text[start:end]) + text[end:]
    raise InputError(f"the text {text[:40]!r}... spells a special token of the policy, in whatever way it is written")


def _apart(spelling: str) -> str:
    """A spelling with a space after its first letter; nothing where it has one letter."""
    at = len(spelling) - len(spelling.lstrip()) + 1
    return f"{spelling[:at]} {spelling[at:]}" if len(spelling.strip()) > 1 else ""
