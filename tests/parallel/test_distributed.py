"""Environments that contradict themselves are named, in one line, before anybody waits."""

import socket
import subprocess
import sys

import jax
import pytest

from emsa_jax.errors import InputError
from emsa_jax.parallel import distributed, preemption

HERE = {"NNODES": "2", "NODE_RANK": "0", "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1234"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "'10.0.0.1', but must be host:port"),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1:abc"}, "must be host:port"),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1:99999"}, "must be host:port"),
        ({"JAX_COORDINATOR_ADDRESS": ""}, "set JAX_COORDINATOR_ADDRESS"),
        ({"NODE_RANK": "2"}, "NODE_RANK is 2"),
        ({"NNODES": "two"}, "must be numbers"),
    ],
)
def test_what_contradicts_itself_is_named(monkeypatch, change, message):
    for name, value in (HERE | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        distributed._named()


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        for name, value in (HERE | {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{taken.getsockname()[1]}"}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match="cannot be had .*in use"):
            distributed._named()
        monkeypatch.setenv("NODE_RANK", "1")  # which does not listen there
        assert distributed._named()[1:] == (2, 1)


@pytest.mark.parametrize("name", ["JAX_COORDINATOR_ADDRESS", "NODE_RANK"])
def test_no_host_trains_for_itself(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    done = subprocess.run(
        [sys.executable, "-c", "from emsa_jax.parallel import distributed; distributed.start(20)"],
        capture_output=True,
        text=True,
    )
    assert f"InputError: {name} is set, but not how many processes there are" in done.stderr


def test_who_did_not_come_is_looked_for(monkeypatch):
    for name, value in (HERE | {"NODE_RANK": "1", "JAX_COORDINATOR_ADDRESS": "nowhere.invalid:1234"}).items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", "from emsa_jax.parallel import distributed; distributed.start(2)"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == preemption.EXIT  # the host may have an address when all are started again
    assert done.stderr.splitlines()[-1] == (
        "error: not all 2 processes came within 2 seconds (no address is known here for nowhere.invalid, of "
        "JAX_COORDINATOR_ADDRESS); start the same command on every host, each NODE_RANK once, and see that process 0 "
        "can be reached"
    )
    assert distributed._unknown_host(("[::1]:1234", 2, 1)) == distributed._unknown_host(None) == ""


def test_a_stop_that_comes_after_the_last_look_is_not_forgotten(monkeypatch):
    left = []
    state = {"asked": False, "agreed": False, "deferred": 0, "leave": lambda: left.append(1)}
    monkeypatch.setattr(preemption, "_state", state)
    with preemption.deferred():
        with preemption.deferred():
            preemption._state["asked"] = True
        assert not left and preemption.is_deferred()
    assert left and not preemption.is_deferred()
    with pytest.raises(KeyError), preemption.deferred():  # what ends it stays what it is
        raise KeyError
    assert left == [1]


def test_a_run_of_one_process_has_no_service():
    """Its heartbeats go by the clock of the wall: a clock that is set back would end the only process."""
    code = (
        "from emsa_jax.parallel import distributed, processes; distributed.start(20); import jax; jax.devices(); "
        "print(processes.joined(), processes.process_count(), processes.is_main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False 1 True\n", done.stderr


def test_several_processes_have_a_service_that_counts_no_heartbeats(monkeypatch):
    """It would count them by the clock of the wall too."""
    joined = []
    monkeypatch.setenv("NNODES", "2")
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(distributed, "backends_exist", lambda: False)
    monkeypatch.setattr("jax.distributed.initialize", lambda *where, **options: joined.append((where, options)))
    before = jax.config.jax_enable_recoverability
    distributed.start(20)
    assert jax.config.jax_enable_recoverability
    jax.config.update("jax_enable_recoverability", before)
    assert joined[0][0] == ("127.0.0.1:1", 2, 1) and joined[0][1]["heartbeat_timeout_seconds"] >= 2**30
