"""What the source may not do: run code that a file brings, or hand text to a shell. Read from the syntax, not run."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("emsa_jax", "benchmarks", "tools", "examples", "configs", "launch")
# modules whose reading runs what a file names
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "yaml.load": "use yaml.safe_load",
    "yaml.unsafe_load": "use yaml.safe_load",
    "yaml.full_load": "use yaml.safe_load",
    "torch.load": "use safetensors",
    "pickle.load": "use another format",
    "pickle.loads": "use another format",
    "pickle.Unpickler": "use another format",
    "os.system": "use subprocess with a list",
    "os.popen": "use subprocess with a list",
    "subprocess.getoutput": "use subprocess with a list",
    "subprocess.getstatusoutput": "use subprocess with a list",
    "pandas.read_pickle": "use another format",
}
# each with a reason that holds for one file alone
ALLOWED = {
    ("emsa_jax/data/array_pickle.py", "pickletools"),  # it takes a pickle apart, and calls nothing
    ("emsa_jax/main.py", "runpy"),  # the config file that the user names on the command line
    ("benchmarks/features_signal.py", "pickle"),  # it writes feature files in the field's form, and reads none
    ("benchmarks/walk.py", "runpy"),  # it watches a run
}


def faults(source: str, path: str) -> list[str]:
    """What a file does that it may not, as "path:line what"."""
    tree = ast.parse(source)
    names = {}  # what a name of the file stands for
    found = []

    def say(node, what):
        found.append(f"{path}:{node.lineno} {what}")

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            modules = [module] if module else [alias.name for alias in node.names]
            for top in {name.partition(".")[0] for name in modules if name}:
                watched = top in UNPICKLERS or top in ("pickletools", "runpy")
                if watched and (path, top) not in ALLOWED:
                    say(node, f"imports {top}")
        if isinstance(node, ast.Call):
            called = _name(node.func, names)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if called in RUNNERS or called.removeprefix("builtins.") in RUNNERS:
                say(node, f"calls {called}")
            if called in CALLS:
                say(node, f"calls {called}: {CALLS[called]}")
            if not _is(given.get("shell"), False) and "shell" in given:
                say(node, "gives a text to a shell")
            if not _is(given.get("allow_pickle"), False) and "allow_pickle" in given:
                say(node, "lets NumPy unpickle")
            trusts = given.get("trust_remote_code")
            if trusts is not None and not _is(trusts, False):
                say(node, "trusts code of a directory")
            owner = called.rpartition(".from_pretrained")[0].rpartition(".")[2]
            if called.endswith(".from_pretrained") and owner.startswith("Auto") and trusts is None:
                say(node, f"{owner}.from_pretrained without trust_remote_code=False")
            named = {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
            if called.endswith("import_module") and named & UNPICKLERS:
                say(node, "imports an unpickler by name")
    return found


def _name(node, names) -> str:
    """The dotted name of what is called, "" where it has none."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _name(node.value, names)
        return f"{owner}.{node.attr}" if owner else f".{node.attr}"
    return ""


def _is(node, value) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def sources():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_source_runs_what_a_file_brings():
    paths = sources()
    assert len(paths) > 250
    found = [fault for path in paths for fault in faults(path.read_text(), path.relative_to(ROOT).as_posix())]
    assert found == []


def test_what_is_allowed_is_still_used():
    for path, module in ALLOWED:
        assert f"import {module}" in (ROOT / path).read_text()


@pytest.mark.parametrize(
    "source, what",
    [
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle"),
        ("def f():\n    import cloudpickle as c", "imports cloudpickle"),
        ("import importlib\nimportlib.import_module('dill')", "imports an unpickler by name"),
        ("import pickle\npickle.loads(b)", "calls pickle.loads"),  # also where the module may be imported
        ("eval('1')", "calls eval"),
        ("import builtins\nbuiltins.exec('1')", "calls builtins.exec"),
        ("__import__('os')", "calls __import__"),
        ("import yaml\nyaml.load(f)", "calls yaml.load"),
        ("from yaml import load as read\nread(f)", "calls yaml.load"),
        ("import torch as t\nt.load(f, weights_only=True)", "calls torch.load"),
        ("import subprocess\nsubprocess.run('ls', shell=True)", "a shell"),
        ("import subprocess\nsubprocess.run('ls', shell=ask)", "a shell"),
        ("import os\nos.system('ls')", "calls os.system"),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "unpickle"),
        ("from transformers import AutoModel\nAutoModel.from_pretrained(d)", "AutoModel.from_pretrained without"),
        ("import transformers as t\nt.AutoModel.from_pretrained(d, trust_remote_code=True)", "trusts code"),
    ],
)
def test_each_of_them_is_seen(source, what):
    assert what in "\n".join(faults(source, "emsa_jax/x.py"))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "program = lowered.compile()",
        "import re\nre.compile('a')",
        "import yaml\nyaml.safe_load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "from transformers import AutoModel\nAutoModel.from_pretrained(d, trust_remote_code=False)",
    ],
)
def test_what_only_looks_like_it_is_not(source):
    assert faults(source, "emsa_jax/x.py") == []
