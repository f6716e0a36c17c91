"""python -m emsa_jax.main --config=configs/grpo.py [--config.FIELD=VALUE ...] [--workdir=DIR]

--config=FILE[:PRESET]    what to do: a file of configs/
--config.FIELD=VALUE      changes one of its fields, such as --config.grpo.max_steps=10
--config=FILE --help      prints the fields of a job with what they mean; --help=GROUP those of one group
--print_config            prints the value of every field and where it comes from, and does nothing else
--workdir=DIR             directory that holds everything of this run (runs/default); the same command again goes on
                          where it stopped
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from emsa_jax.errors import InputError

# unknown fields are let in here and named by from_config_dict, which knows the nearest
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "What to do: a file of configs/, with an optional :PRESET.",
    lock_config=False,
    accept_new_attributes=True,
)
_PRINT = flags.DEFINE_bool("print_config", False, "Print the config with the origin of each value, and end.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/default", "Directory that holds everything of this run.")


# XLA speaks of slow compilations, and of what it has noticed before our own line comes; to be said before JAX is loaded
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(argv: list[str]) -> None:
    """Reads the config and runs its stages."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; fields are set as --config.FIELD=VALUE")
    if _CONFIG.value is None:
        raise InputError("say what to do: --config=configs/grpo.py, or another file of configs/")
    if not isinstance(_CONFIG.value, ConfigDict):
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(f"--config={name} cannot be read; give a file of configs/, such as configs/grpo.py")
    if (job := config_flags.get_override_values(flags.FLAGS["config"]).get("job")) in _jobs():
        raise InputError(f"config.job: a file says what is done; give --config=configs/{job}.py if that is meant")
    options = options_of(_CONFIG.value)
    if _PRINT.value:
        return print_config(options)
    workdir = _workdir()
    if job := getattr(options, "job", ""):
        if job == "plan":  # which compiles for devices that are not here: to be said before JAX looks for any
            from emsa_jax.planning.topologies import compile_without_devices

            compile_without_devices()
        from emsa_jax.settings.job_options import RESUMED

        places = (workdir,) if job in RESUMED else ()
        return getattr(importlib.import_module(f"emsa_jax.jobs.{job}"), job)(options, *places)
    return run(options, workdir, config_flags.get_override_values(flags.FLAGS["config"]))


def options_of(config: ConfigDict) -> Any:
    """The options of the job that a config is for. Raises InputError for a field or value that cannot be."""
    from emsa_jax.config.edge import from_config_dict
    from emsa_jax.settings.config import Config
    from emsa_jax.settings.job_options import JOBS

    if (job := config.get("job")) and not (isinstance(job, str) and job in JOBS):
        raise InputError(f"config.job: {job!r} is none of {', '.join(JOBS)}")
    return from_config_dict(JOBS[job] if job else Config, config)


def _workdir() -> Path:
    """Where everything of this run lies. Raises InputError for what names no directory."""
    if not _WORKDIR.value:
        raise InputError("--workdir is empty; name the directory that is to hold everything of this run")
    try:
        return Path(_WORKDIR.value).expanduser().absolute()
    except RuntimeError as error:
        raise InputError(f"--workdir={_WORKDIR.value}: this machine knows no such user; name a directory") from error


def _jobs() -> tuple[str, ...]:
    from emsa_jax.settings.job_options import JOBS

    return tuple(JOBS)


def print_config(options: Any) -> None:
    """Prints every field with its value and where it comes from."""
    from emsa_jax.settings.help import config_lines

    flag = flags.FLAGS["config"]
    file, _, preset = config_flags.get_config_filename(flag).partition(":")
    given = config_flags.get_override_values(flag)
    print("\n".join(config_lines(options, options_of(_config_file(file, preset)), given, (preset, file))))


def print_help(argv: list[str], group: str) -> None:
    """Prints what the program takes, or, with a config file in `argv`, the fields of its job."""
    flag = ("--config", "-config")
    named = [value for name, _, value in (argument.partition("=") for argument in argv) if name in flag and value]
    named += [value for name, value in zip(argv, argv[1:], strict=False) if name in flag]
    if not named and group:
        raise InputError(f"--help={group}: say of which job, as --config=configs/grpo.py --help={group}")
    if not named:
        return print(__doc__, end="")
    from emsa_jax.settings.help import help_lines

    file, _, preset = named[-1].partition(":")
    print("\n".join(help_lines(options_of(_config_file(file, preset)), group)))


def run(config: Any, workdir: Path, given: Collection[str] = ()) -> None:
    """The stages of a run, or one of the jobs that take a run's config. given: dotted fields that the user set."""
    from emsa_jax.jobs.prepare import prepare_records
    from emsa_jax.jobs.stages import check_inputs, run_stages
    from emsa_jax.parallel import processes
    from emsa_jax.runtime.console import say
    from emsa_jax.runtime.programs import keep_compiled
    from emsa_jax.runtime.run import open_run
    from emsa_jax.runtime.startup import check_devices, join, listen
    from emsa_jax.settings.old_fields import upgrade_for
    from emsa_jax.settings.policy_defaults import with_defaults

    if config.predictions:  # of someone else: there is no policy to ask
        from emsa_jax.jobs.score import score_predictions

        return score_predictions(config, workdir)
    listen()
    if config.out:  # records alone, which many runs may share
        return prepare_records(config)
    join(config)
    config, lines = with_defaults(config, given, workdir)
    for line in lines:
        say(line)
    if set(config.stages) - {"prepare", "report"}:
        check_devices()
    processes.broadcast(lambda: check_inputs(config), "inputs")
    trains = bool({"align", "sft", "grpo"} & set(config.stages))
    with open_run(workdir, config, upgrade_for(trains)) as opened:
        keep_compiled(opened.path("compilation_cache"))
        run_stages(opened, config)


def _config_file(file: str, preset: str) -> ConfigDict:
    """What a file of configs/ gives. Raises InputError where it cannot be read."""
    try:
        return runpy.run_path(file)["get_config"](preset)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a config file is a program: it may fail in any way
        raise InputError(f"--config={file} cannot be read; give a file of configs/, such as configs/grpo.py") from error


def _parse(argv: list[str]) -> list[str]:
    """absl's flag parser, with its errors turned into ours."""
    from emsa_jax.settings.old_fields import check_old_fields

    found = [re.match(r"--?(?:no)?config\.([\w.]+)", argument) for argument in argv]
    check_old_fields([match[1] for match in found if match])
    try:
        return flags.FLAGS(argv)
    except (Exception, SystemExit) as error:  # a config file is a program: it may fail in any way
        reason = _reason(error)
        if isinstance(error, flags.Error | InputError | KeyError) or _own(error):
            raise InputError(reason) from error
        given = [a.partition("=")[2] for a in argv if re.match("--?config=", a)]
        file = given[-1].partition(":")[0] if given else "config"
        told = f"--config={file} cannot be read ({reason}); give a file of configs/, such as configs/grpo.py"
        raise InputError(told) from error


def _own(error: BaseException) -> bool:
    """Whether our own code objected, somewhere on the way to an error."""
    return isinstance(error, InputError) or error.__context__ is not None and _own(error.__context__)


def _reason(error: BaseException | None) -> str:
    """One line: what our own code objected to, if it did, else what the parser did."""
    found, link = error, error
    while link := link.__context__:
        found = link if isinstance(link, InputError) else found
    text = f"config has no field {found.args[0]}" if isinstance(found, KeyError) else str(found)
    text = "it ends the program" if isinstance(found, SystemExit) else text
    if parsing := re.search(r"Error whilst parsing config file:\s+Traceback .*\n(\S[^\n]*)", text, re.DOTALL):
        text = f"the config file cannot be read ({parsing[1]}); give a file of configs/, such as configs/grpo.py"
    if number := re.match(r"flag --([\w.]+)=(.*): (invalid literal for int|could not convert string to float)", text):
        field, value, kind = number.groups()
        text = f"{field} must be {'a whole' if 'int' in kind else 'a'} number, not {value!r}"
    if group := re.match(r"flag --([\w.]+)=(.*): Failed to parse .* as a ConfigDict", text, re.DOTALL):
        text = f"{group[1]} is a group of fields, not {group[2]!r}; set one of them, as --{group[1]}.NAME=VALUE"
    return " ".join(text.split())


def _run(argv: list[str], is_program: bool = False) -> None:
    """is_program: whether the process is ours, and ends with this."""
    asked = [argument for argument in argv[1:] if argument in ("--help", "-h") or argument.startswith("--help=")]
    try:
        if asked:
            print_help(argv[1:], asked[-1].partition("=")[2])
        else:
            main(_parse(argv))
    except (Exception, KeyboardInterrupt) as error:
        _end(error, _workdir_if_named(), is_program)


def _workdir_if_named() -> Path | None:
    try:
        return _workdir() if flags.FLAGS.is_parsed() else None
    except InputError:
        return None


def _end(error: BaseException, workdir: Path | None, is_program: bool = False) -> None:
    """Ends the process for a reason that the others of the run hear of, instead of waiting for this one."""
    from emsa_jax.parallel import processes
    from emsa_jax.runtime.endings import ending_of

    ending = ending_of(error, workdir)
    ending.say()
    if processes.process_count() > 1:
        processes.fail(str(error) or type(error).__name__, ending.code)
        processes.leave(ending.code)
    if is_program:  # what libraries would write at the end, as on a full disk, would only fail once more
        sys.stdout.flush()
        processes.leave(ending.code)
    sys.exit(ending.code)


def _say_what_nobody_can_catch(raised: sys.UnraisableHookArgs) -> None:
    """The same for what C++ calls in threads of its own, and for what cleans up. That a loop of events is closed is
    nothing to be told: each write that is still under way says so after one has failed, as on a full disk."""
    if "loop is closed" not in str(raised.exc_value):
        _say_what_a_thread_raised(threading.ExceptHookArgs((raised.exc_type, raised.exc_value, None, None)))


def _say_what_a_thread_raised(raised: threading.ExceptHookArgs) -> None:
    """One line for what a thread of a library raised that nobody waits for, such as TensorBoard's on a full disk."""
    if raised.exc_type is not SystemExit:
        from emsa_jax.runtime.console import printable

        line = printable(" ".join(f"{raised.exc_type.__name__}: {raised.exc_value}".split()))
        print(f"warning: a helper thread has failed; the run goes on without it ({line})", file=sys.stderr, flush=True)


def program(argv: list[str]) -> None:
    """Does what the arguments say and ends the process. argv: with the program's name before them."""
    from emsa_jax.parallel import interrupts
    from emsa_jax.runtime.log_lines import show_logs

    interrupts.listen()
    show_logs()
    threading.excepthook = _say_what_a_thread_raised
    sys.unraisablehook = _say_what_nobody_can_catch
    _run(argv, is_program=True)


if __name__ == "__main__":
    program(sys.argv)
