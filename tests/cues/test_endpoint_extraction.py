"""Cues from a chat endpoint: asked once, checked strictly, kept, within the budget."""

import asyncio
import json

import pytest

from emsa_jax.cues.endpoint_extraction import PROMPTS, Extraction, cues_by_endpoint, parse_cues
from emsa_jax.distill.teacher_options import BudgetOptions, TeacherOptions
from emsa_jax.errors import InputError
from tests.distill.test_client import Scripted, http, said

CUES = {"visual": ["She smiles."], "auditory": [], "emotional": ["She is glad."]}
GOOD = said(json.dumps(CUES))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """(texts, responses) -> (cues or the error, the server)."""

    def run(texts, *responses, prompt=1, budget=None, **teacher):
        async def serve():
            async with Scripted(*responses) as server:
                fields = dict(url=server.url, model="m", concurrency=1, retries=0, timeout_seconds=5, temperature=0.0)
                how = Extraction(
                    TeacherOptions(**fields | teacher), budget or BudgetOptions(), prompt, tmp_path / "cache.jsonl"
                )
                try:  # in a thread, since it has a loop of its own
                    return await asyncio.to_thread(cues_by_endpoint, texts, how), server
                except InputError as error:
                    return error, server

        return asyncio.run(serve())

    return run


def test_an_answer_is_read_and_never_asked_for_again(run):
    found, server = run({"a": "text of a", "b": "text of b"}, GOOD)
    assert found == {"a": CUES, "b": CUES} and len(server.bodies) == 2
    system, user = server.bodies[0]["messages"]
    assert user["content"] == "text of a" and system["content"].startswith(PROMPTS[0])
    assert server.bodies[0]["response_format"] == {"type": "json_object"} and server.bodies[0]["temperature"] == 0
    again, server = run({"b": "text of b", "a": "text of a"}, GOOD)
    assert again == found and list(again) == ["b", "a"] and not server.bodies
    _, server = run({"a": "text of a"}, GOOD, prompt=2)  # another question
    assert len(server.bodies) == 1 and server.bodies[0]["messages"][0]["content"].startswith(PROMPTS[1])


def test_a_wrong_answer_is_asked_for_once_more_and_then_named(run):
    found, server = run({"a": "x"}, said("no json"), GOOD)
    assert found == {"a": CUES} and [body["seed"] for body in server.bodies] == [0, 1]
    error, server = run({"b": "y"}, said("no json"))
    assert "clip 'b' (the answer is no JSON object" in str(error) and len(server.bodies) == 2
    error, _ = run({"c": "z"}, http(400, "no"))
    assert "clip 'c' (HTTP 400)" in str(error) and "\n" not in str(error)


def test_nothing_is_asked_beyond_the_budget_and_what_was_read_is_kept(run):
    texts = {"a": "x", "b": "y", "c": "z"}
    error, server = run(texts, GOOD, budget=BudgetOptions(requests=2))
    assert len(server.bodies) == 2 and "budget.requests=2 is used up: 2 of 3" in str(error)
    found, server = run(texts, GOOD)
    assert found == dict.fromkeys(texts, CUES) and len(server.bodies) == 1


def test_nobody_there_is_one_line(run):
    error, _ = run({"a": "x"}, GOOD, url="http://127.0.0.1:9/v1")
    assert "nothing answers" in str(error)


def test_only_the_three_lists_are_taken():
    assert parse_cues(f"```json\n{json.dumps(CUES)}\n```") == CUES
    assert parse_cues('{"visual": [" a  b ", ""], "auditory": [], "emotional": []}')["visual"] == ["a b"]
    more = CUES | {"text": []}
    for wrong in ("", "[]", "{}", json.dumps(more), json.dumps(CUES | {"visual": "x"}), '{"visual": [1]}', "[" * 9999):
        assert parse_cues(wrong) is None
