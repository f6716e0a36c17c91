"""Who may ask: by token, and on loopback by the name of the server."""

import pytest

from emsa_jax.errors import InputError
from emsa_jax.serving.access import Access
from emsa_jax.serving.api_errors import ApiError
from emsa_jax.serving.server import token_of
from emsa_jax.serving.serving_options import ServeOptions


def status(access, path="/v1/models", **headers):
    try:
        access.check(path, {name.replace("_", "-"): value for name, value in headers.items()})
    except ApiError as error:
        return error.status
    return 200


def test_on_loopback_names_of_other_hosts_are_refused():
    access = Access.of("127.0.0.1", "", ("Mine.Example",))
    for name in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:80", "mine.example:80"):
        assert status(access, host=name) == 200
        assert status(access, host=name, origin=f"http://{name}") == 200
    for name in ("evil.example", "localhost.evil.example", "", "[", "127.0.0.1.evil", "user@evil", "localhost@evil"):
        assert status(access, host=name) == 403
        assert status(access, host="localhost", origin=f"http://{name}") == 403


def test_at_an_open_address_the_token_is_all():
    access = Access.of("0.0.0.0", "s3", ())
    assert status(access, host="any.example") == 401
    assert status(access, host="any.example", authorization="Bearer s3") == 200
    for wrong in ("s3", "bearer s3", "Bearer s33", "Bearer s", "Bearer \u00e9"):
        assert status(access, authorization=wrong) == 401
    assert status(access, path="/health") == status(access, path="/") == 200
    assert status(access, path="/metrics") == 401


def test_an_open_address_needs_a_token(monkeypatch):
    monkeypatch.delenv("EMSA_TOKEN", raising=False)
    with pytest.raises(InputError, match="others can reach this server; say config.token"):
        token_of(ServeOptions(host="0.0.0.0"))
    assert token_of(ServeOptions()) == "" and token_of(ServeOptions(host="0.0.0.0", token="a")) == "a"
    monkeypatch.setenv("EMSA_TOKEN", "of-the-environment")
    assert token_of(ServeOptions(host="0.0.0.0")) == "of-the-environment" and token_of(ServeOptions(token="a")) == "a"
