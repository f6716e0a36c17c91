"""What the source may not do: run code that a file brings, or hand text to a shell. Read from the syntax, not run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("emsa_jax", "benchmarks", "tools", "examples", "configs", "launch")
# modules whose reading runs what a file names
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
UNPICKLERS |= {"pickle5", "_compat_pickle", "code", "codeop", "imp"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
YAML, TORCH, SHELL, CODE = (
    "use yaml.safe_load",
    "use safetensors",
    "use subprocess with a list",
    "it runs a file's code",
)
# dotted names, and all below them, that no file may speak of, with what to do
FORBIDDEN = {
    **{f"yaml.{name}": YAML for name in ("load", "load_all", "Loader", "CLoader")},
    **{f"yaml.{kind}_{name}": YAML for kind in ("unsafe", "full") for name in ("load", "load_all")},
    **{f"yaml.{name}": YAML for name in ("UnsafeLoader", "FullLoader")},
    **{f"torch.{name}": TORCH for name in ("load", "serialization", "jit.load", "hub", "package")},
    **{f"os.{name}": SHELL for name in ("system", "popen", "posix_spawn", "posix_spawnp")},
    **{f"os.exec{end}": SHELL for end in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")},
    **{f"os.spawn{end}": SHELL for end in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")},
    **{f"subprocess.{name}": SHELL for name in ("getoutput", "getstatusoutput")},
    **{name: SHELL for name in ("asyncio.create_subprocess_shell", "pty.spawn")},
    **{f"importlib.{name}": CODE for name in ("util.spec_from_file_location", "machinery.SourceFileLoader")},
    **{name: CODE for name in ("types.FunctionType", "types.CodeType", "logging.config", "__builtins__")},
    **{name: CODE for name in ("transformers.dynamic_module_utils",)},
    "multiprocessing.reduction": "it unpickles",
    **{f"pickle.{name}": "use another format" for name in ("load", "loads", "Unpickler")},
    "pandas.read_pickle": "use another format",
    "shutil.unpack_archive": "it writes where the archive says",
}
SHELLS = {"sh", "bash", "dash", "zsh", "/bin/sh", "/bin/bash"}
# each with a reason that holds for one file alone
ALLOWED = {
    ("emsa_jax/data/array_pickle.py", "pickletools"),  # it takes a pickle apart, and calls nothing
    ("emsa_jax/main.py", "runpy"),  # the config file that the user names on the command line
    ("benchmarks/features_signal.py", "pickle"),  # it writes feature files in the field's form, and reads none
    ("benchmarks/walk.py", "runpy"),  # it watches a run
    ("benchmarks/walk.py", "import_module"),  # a module of this package
    ("benchmarks/house.py", "import_module"),  # the same, in a process of its own
    ("emsa_jax/rewards/plugins.py", "import_module"),  # the module of a reward that the user names
}


def faults(source: str, path: str) -> list[str]:
    """What a file does that it may not, as "path:line what"."""
    tree = ast.parse(source)
    names = imported_names(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = []
    for node in ast.walk(tree):
        whats = []
        if isinstance(node, ast.Import | ast.ImportFrom):
            whats = of_import(node, path)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in inside:
            whats = of_name(_name(node, names), id(node) in called)
        elif isinstance(node, ast.Call):
            whats = of_call(node, names, path)
        found += [f"{path}:{node.lineno} {what}" for what in whats]
    return found


def imported_names(tree) -> dict[str, str]:
    """What a name of the file stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def of_import(node, path):
    module = getattr(node, "module", None)
    modules = [module] if module else [alias.name for alias in node.names]
    for top in {name.partition(".")[0] for name in modules if name}:
        watched = top in UNPICKLERS or top in ("pickletools", "runpy")
        if watched and (path, top) not in ALLOWED:
            yield f"imports {top}"
    if any(alias.name == "*" for alias in node.names):
        yield f"imports everything of {module}"
    if not getattr(node, "level", 0):
        for name in {*modules, *(f"{module}.{alias.name}" for alias in node.names if module)}:
            if what := _forbidden(name):
                yield f"imports {name}: {what}"


def of_name(name, is_called):
    bare = name.removeprefix("builtins.")
    if bare in RUNNERS:
        yield f"calls {name}" if is_called else f"speaks of {name}"
    if what := _forbidden(name):
        yield f"calls {name}: {what}"
    if name.endswith(".from_pretrained") and not is_called:
        yield f"gives {name} another name"


def of_call(node, names, path):
    called = _name(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for keyword in node.keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Dict):  # **{"shell": True}
            named = zip(keyword.value.keys, keyword.value.values, strict=True)
            given |= {key.value: value for key, value in named if isinstance(key, ast.Constant)}
    if called == "numpy.load" and len(node.args) > 2:
        given["allow_pickle"] = node.args[2]
    if not _is(given.get("shell"), False) and "shell" in given:
        yield "gives a text to a shell"
    first = node.args[0] if node.args else None
    if isinstance(first, ast.List) and first.elts and getattr(first.elts[0], "value", None) in SHELLS:
        flags = [one.value for one in first.elts[1:] if isinstance(one, ast.Constant)]
        if any(re.fullmatch("-[a-z]*c", str(flag)) for flag in flags):
            yield "gives a text to a shell"
    if not _is(given.get("allow_pickle"), False) and "allow_pickle" in given:
        yield "lets NumPy unpickle"
    trusts = given.get("trust_remote_code")
    if trusts is not None and not _is(trusts, False):
        yield "trusts code of a directory"
    owner = called.rpartition(".from_pretrained")[0].rpartition(".")[2]
    finds = called.endswith(".from_pretrained") and owner.startswith("Auto")
    if trusts is None and (finds or called == "transformers.pipeline"):
        yield f"{owner or 'pipeline'}.from_pretrained without trust_remote_code=False"
    if called.endswith("import_module") and (path, "import_module") not in ALLOWED and not _is_known(first):
        yield "imports an unpickler by name, or what else a text names"
    if called == "getattr" and len(node.args) > 1 and getattr(node.args[1], "value", None) in RUNNERS:
        yield f"calls {node.args[1].value}"


def _forbidden(name) -> str:
    """What to do in place of what a dotted name stands for; "" where nothing is wrong with it."""
    parts = name.split(".")
    return next((FORBIDDEN[one] for n in range(len(parts)) if (one := ".".join(parts[: n + 1])) in FORBIDDEN), "")


def _is_known(node) -> bool:
    """Whether the text that names a module names its package, or is plain and names no unpickler."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
        return isinstance(node, ast.Constant) and "." in str(node.value)
    return isinstance(node, ast.Constant) and not _forbidden(node.value) and node.value not in UNPICKLERS


def _name(node, names) -> str:
    """The dotted name of what is spoken of, "" where it has none."""
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
        text = (ROOT / path).read_text()
        assert f"import {module}" in text or f"importlib.{module}(" in text


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
        ("run = eval\nrun('1')", "speaks of eval"),
        ("list(map(exec, texts))", "speaks of exec"),
        ("import builtins\ngetattr(builtins, 'eval')('1')", "calls eval"),
        ("__builtins__['eval']('1')", "__builtins__"),
        ("import yaml\nyaml.unsafe_load_all(f)", "yaml.unsafe_load_all"),
        ("import yaml\nyaml.load_all(f, Loader=yaml.Loader)", "yaml.load_all"),
        ("from yaml import *\nload(f)", "imports everything of yaml"),
        ("import torch\nread = torch.load\nread(f)", "torch.load"),
        ("import torch.serialization as s\ns.load(f)", "torch.serialization"),
        ("from torch import hub", "torch.hub"),
        ("import numpy as np\nnp.load(f, None, True)", "unpickle"),
        ("import subprocess\nsubprocess.run(['bash', '-lc', text])", "a shell"),
        ("import subprocess\nsubprocess.run('ls', **{'shell': True})", "a shell"),
        ("import asyncio\nasyncio.create_subprocess_shell(text)", "create_subprocess_shell"),
        ("import os\nos.execvp(f, a)", "os.execvp"),
        ("import importlib.util as u\nu.spec_from_file_location('a', f)", "it runs a file's code"),
        ("import importlib\nimportlib.import_module(name)", "what else a text names"),
        ("import importlib\nimportlib.import_module('pick' + 'le')", "what else a text names"),
        ("from transformers import AutoModel as A\nread = A.from_pretrained\nread(d)", "another name"),
        (
            "from transformers import Qwen2Tokenizer as Q\nQ.from_pretrained(d, **{'trust_remote_code': 1})",
            "trusts code",
        ),
        ("from transformers import pipeline\npipeline('x', model=d)", "without trust_remote_code=False"),
        ("from multiprocessing.reduction import ForkingPickler", "it unpickles"),
        ("import code\ncode.interact()", "imports code"),
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
        "code = 1\nprint(code)",
        "import importlib\nimportlib.import_module(f'emsa_jax.jobs.{job}')",
        "import subprocess\nsubprocess.run(['bash', 'launch/x.sh', '--config=c'])",
    ],
)
def test_what_only_looks_like_it_is_not(source):
    assert faults(source, "emsa_jax/x.py") == []
