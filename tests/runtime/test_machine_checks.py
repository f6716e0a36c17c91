from importlib import metadata

import pytest

from emsa_jax.runtime import machine_checks
from emsa_jax.runtime.machine_checks import (
    Finding,
    check_device,
    check_disk,
    check_endpoint,
    check_packages,
    check_python,
)


def test_a_finding_is_one_line():
    assert Finding("disk", "warning", "full", "make room").line() == "warning  disk      full; make room"


def test_this_environment_is_the_one_that_is_locked():
    assert (check_python().status, check_packages().status, check_device().status) == ("ok", "ok", "ok")


@pytest.mark.parametrize(
    "line, status, told",
    [
        ("numpy=={} \\\n    --hash=sha256:00", "ok", "all 1 have"),
        ("numpy==0.1 \\\n    --hash=sha256:00", "warning", "numpy {} for 0.1"),
        ("no-such-package==1.0 \\\n    --hash=sha256:00", "fault", "not installed: no-such-package"),
        ("numpy=={}\npywin32==3 ; sys_platform == 'win32' \\\n    --hash=sha256:00", "ok", "all 1 have"),
    ],
)
def test_packages_beside_a_lock(line, status, told):
    version = metadata.version("numpy")
    found = check_packages(line.format(version))
    assert found.status == status and told.format(version) in found.text and bool(found.advice) == (status != "ok")


@pytest.mark.parametrize("free, status", [(1e8, "fault"), (5e9, "warning"), (1e12, "ok")])
def test_disks(monkeypatch, tmp_path, free, status):
    monkeypatch.setattr(machine_checks, "free_bytes", lambda path: free)
    assert check_disk(tmp_path / "runs" / "new").status == status


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "runs").touch()
    assert check_disk(tmp_path / "runs" / "x").status == "fault"


def test_a_gpu_that_jax_passes_over(monkeypatch):
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    found = check_device()
    assert (found.status, found.advice) == ("warning", "make install EXTRA=cuda")


def test_an_endpoint(chat_models):
    found = check_endpoint(f"{chat_models(200, {'data': [{'id': 'mine'}]})}/v1/")
    assert found.status == "ok" and found.text.endswith(": mine")


@pytest.mark.parametrize("status, body, told", [(401, {}, "answers 401"), (200, {"a": 1}, "no list of models")])
def test_an_endpoint_that_is_none(chat_models, status, body, told):
    found = check_endpoint(f"{chat_models(status, body)}/v1", key="sk-secret")
    assert found.status == "fault" and told in found.text and "sk-secret" not in found.line()


def test_an_address_where_nothing_is():
    for address in ("http://127.0.0.1:9/v1", "nonsense"):
        assert check_endpoint(address).text.startswith("nothing answers at ")


@pytest.fixture
def chat_models():
    """(status, body) -> the address of a server that answers GET /v1/models so."""
    import json
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    servers = []

    def serve(status, body):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.path == "/v1/models"
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
