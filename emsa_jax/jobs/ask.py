"""One question to a policy, whose answer appears as it is made; or the predictions about a file or folder of clips."""

from __future__ import annotations

import json
import queue
import sys
import time
from pathlib import Path

from emsa_jax.data.readers.rows import TABLES
from emsa_jax.disk import not_writable
from emsa_jax.errors import InputError
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.runtime.console import printable, progress, say
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.startup import check_devices
from emsa_jax.serving.answer_text import AnswerText
from emsa_jax.serving.ask_data import predict_csv, read_questions
from emsa_jax.serving.clip_reader import ClipReader
from emsa_jax.serving.engine import Delivery, Engine, Work
from emsa_jax.serving.opened_policy import OpenedPolicy, open_policy
from emsa_jax.serving.programs import ServingPrograms
from emsa_jax.serving.questions import Question, ask_about, shown_prompt
from emsa_jax.serving.replies import reading_of, told_reading
from emsa_jax.serving.serving_options import AskOptions
from emsa_jax.serving.shapes import exact_shape

DECODE_SECONDS = 600.0


def ask(options: AskOptions) -> None:
    """Prints the answer, then what was read of it, what was seen and heard, and how long it took; with `data` writes a
    csv of predictions. Raises InputError naming the field or file."""
    check_devices()
    if not (options.data or options.video or options.audio or options.text):
        raise InputError("say what to ask about: config.video, config.audio, config.text, or config.data for many")
    for name in ("video", "audio"):
        _check_medium(name, getattr(options, name))
    if options.data:
        _check_out(Path(options.out).expanduser())
    if options.cache:
        keep_compiled(Path(options.cache).expanduser())
    policy = open_policy(options, options.max_seconds)
    for note in policy.notes:
        say(note)
    if options.data:
        return _ask_many(options, policy)
    begun = time.monotonic()
    with ClipReader(policy.prepare, DECODE_SECONDS) as reader:
        paths = {
            name: str(Path(path).expanduser()) if (path := getattr(options, name)) else ""
            for name in ("video", "audio")
        }
        clip = reader.read(**paths, text=options.text, language=policy.language)
    question = ask_about(policy, clip)
    if options.show_prompt:
        _show_prompt(policy, question)
    answer = _answer(options, policy, question)
    print("\n", flush=True)
    for line in told_reading(reading_of(policy.format.parse(answer.marked)), policy.format.score_range):
        say(line)
    say(f"seen       {question.seen.line()}")
    cut = "" if answer.ended else ", cut off there: config.max_tokens"
    say(f"took       {time.monotonic() - begun:.1f} s, {len(answer.tokens)} tokens{cut}")


def _check_medium(name: str, path: str) -> None:
    """Raises InputError where the path of the field is given and is not one clip's file, with the field to take."""
    file = Path(path).expanduser()
    if not path or file.is_file() and file.suffix.lower() not in TABLES:
        return
    if file.exists():
        kind = "a folder" if file.is_dir() else "a table"
        raise InputError(
            f"config.{name}: {path} is {kind}, not one clip; --config.data={path} asks about all of its clips"
        )
    words = "; --config.text is for the words that are said" if " " in path else ""
    raise InputError(f"config.{name}: there is no file {path}{words}")


def _check_out(out: Path) -> None:
    """Raises InputError where predictions could not be written there: known now, rather than after the last answer."""
    if out.is_dir():
        raise InputError(f"config.out: {out} is a directory; name a csv file")
    if place := not_writable(out.parent):
        raise InputError(
            f"config.out: {out} cannot be written, since nothing can be made in {place}; name another file"
        )


def _answer(options: AskOptions, policy: OpenedPolicy, question: Question) -> AnswerText:
    """The answer, which is printed as it is made."""
    shapes = [exact_shape(policy.config, question.row, policy.prepare)]
    programs = ServingPrograms(policy, shapes, [1], options.max_tokens, options.chunk)
    programs.compile()
    engine, arrived = Engine(programs, max_queue=1, max_batches=1), queue.SimpleQueue()
    engine.start()
    sampling = {name: getattr(options, name) for name in ("temperature", "top_p", "seed")}
    engine.submit([Work(row=question.row, deliver=arrived.put, limit=options.max_tokens, **sampling)])
    answer = AnswerText(policy.checkpoint)
    while not answer.finish:
        delivery: Delivery = arrived.get()
        if delivery.error:
            raise InputError(f"the policy cannot answer: {delivery.error}")
        sys.stdout.write(printable(answer.add(delivery)))
        sys.stdout.flush()
    engine.close()
    return answer


def _show_prompt(policy: OpenedPolicy, question: Question) -> None:
    shown = shown_prompt(policy, question.row)
    say(f"--- prompt, {shown['tokens']} tokens; one placeholder stands for all tokens of a medium\n{shown['text']}")
    for medium in shown["media"]:
        last = medium["first"] + medium["tokens"] - 1
        say(f"--- {medium['kind']}: tokens {medium['first']} to {last} ({medium['tokens']})")
    say(f"--- ids: {json.dumps(shown['ids'])}\n---")


def _ask_many(options: AskOptions, policy: OpenedPolicy) -> None:
    out = Path(options.out).expanduser()
    samples = read_questions(Path(options.data).expanduser(), policy.language)
    sampling = SamplingOptions(
        temperature=options.temperature, top_p=options.top_p, max_completion_length=options.max_tokens
    )
    done, failed = predict_csv(policy, samples, out, sampling, options.seed, options.batch_size, progress)
    more = f"; {failed} could not be asked about, the column error says why" if failed else ""
    say(f"predictions about {done} clips: {out}{more}")
