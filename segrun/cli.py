"""The command line: the command word first, then Hydra. It imports neither torch nor Hydra, so that `segrun --help`
is instant."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from segrun.engine.signals import sigterm_interrupts
from segrun.errors import Interrupted, RequestError, ResourceError, SegrunError, suggest
from segrun.names import visible

# command -> (its primary config in conf/, its module in segrun.commands, what it does)
COMMANDS = {
    "train": ("train", "train", "train a model; -m sweeps over values"),
    "eval": ("eval", "evaluate", "score a checkpoint on a data set"),
    "predict": ("predict", "predict", "write masks for an image, a folder or a glob"),
    "check": ("check", "check", "examine a data set: damaged files, copies, classes, splits"),
    "compare": ("compare", "compare", "which configurations are better, by how much, and whether that is real"),
    "choose": ("choose", "choose", "choose a configuration by its score on val on a small budget, and train it"),
    "plan": ("train", "plan", "show what would be trained, when and at which learning rate, without training"),
    "models": ("models", "models", "list backbones and heads, their weights, and which fit each other"),
    "describe": ("describe", "describe", "count a model's parameters, operations and memory"),
}

EXAMPLES = """examples:
  segrun train strategy=finetune                              the default data set, which segrun draws itself
  segrun train dataset=folder dataset.root=slides/ labels=20  twenty labelled images of your own
  segrun train -m strategy=scratch,finetune seed=0,1          a sweep: four runs and a table
  segrun train resume=outputs/train/<run>                     continue an interrupted run
  segrun check dataset=folder dataset.root=slides/            what is wrong with the data, before training
  segrun plan strategy=finetune freeze=gradual                the plan, without training
  segrun models name=resnet*                                  the backbones to choose from
  segrun eval checkpoint=outputs/train/<run>/best.ckpt        scores on the stored test split
  segrun predict checkpoint=… input=photos/ output=masks/     indexed masks at the original size

Flags of every command: --help (groups and options), --cfg job, --info, -m, --config-dir <folder>.
Shell completion: eval "$(segrun -sc install=bash)"
"""

EXIT_STATUS = """exit status:
  0    success
  1    failure, such as a full disk, too little memory, a failed job of a sweep, an image that predict cannot read, or
       errors that check has found
  2    the request or the data are wrong
  130  interrupted by Ctrl-C or SIGTERM; what can be continued is saved
"""


def main(argv: list[str] | None = None) -> None:
    """Entry point. `EXIT_STATUS` names the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    gc.disable()  # What imports allocate stays. To look for garbage in it takes a fifth of the time of `segrun plan`.
    try:
        with sigterm_interrupts():
            sys.exit(dispatch(words))
    except (SegrunError, Interrupted) as error:
        fail(error)
    except KeyboardInterrupt:
        fail(Interrupted("Interrupted."))
    except BrokenPipeError:  # `segrun plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            fail(ResourceError("out of memory: the model, the images or the batch are too large for this machine."))
        fail(SegrunError(f"{type(error).__name__}: {str(error).strip() or 'no message'}"), hint=True)
    finally:
        gc.enable()


def fail(error: SegrunError | Interrupted, hint: bool = False) -> NoReturn:
    if os.environ.get("SEGRUN_DEBUG") == "1":
        raise error
    print(visible(f"segrun: {error}"), file=sys.stderr)
    if hint:
        print("This is not an error that segrun knows; SEGRUN_DEBUG=1 shows where it occurred.", file=sys.stderr)
    sys.exit(error.status)


def dispatch(words: list[str]) -> int:
    if words and words[0] == "-sc":  # completion: the command word is taken from COMP_LINE
        return complete(words)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"segrun {version('segrun')}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        raise RequestError(f"{command!r} is not a command. {suggest(command, COMMANDS)}")
    if "--help" in rest or "-h" in rest:
        from segrun.config.help import explain

        print(visible(explain(command, COMMANDS[command], rest)))
        return 0
    return run_hydra(command, rest)


def overview() -> str:
    lines = ["segrun: transfer learning in image segmentation", "", "usage: segrun <command> [key=value …] [flags]", ""]
    lines += [f"  {name:<9}{does}" for name, (_, _, does) in COMMANDS.items()]
    return "\n".join([*lines, "", EXAMPLES, EXIT_STATUS.rstrip()])


class HydraJob:
    """What Hydra calls for each job, perhaps in another process.

    Attributes:
        results: An exit status or an exception per job, which is reported when the other jobs have ended.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.results: list[int | Exception] = []

    def __call__(self, config: Any) -> int | Exception:
        from segrun.config.compose import in_multirun, to_dict, with_choices

        result: int | Exception
        try:
            module = importlib.import_module(f"segrun.commands.{COMMANDS[self.command][1]}")
            gc.enable()
            with sigterm_interrupts():  # in another process, `main` has not seen to it
                result = getattr(module.run(to_dict(with_choices(config))), "status", 0)
        except Exception as error:
            result = error
        if not in_multirun():  # there, the sweeper collects them
            self.results.append(result)
        return result


def run_hydra(command: str, words: list[str]) -> int:
    """Compose the config and run the command; with -m, once for every combination."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises exceptions instead of printing them
    from segrun.config.compose import known_keys
    from segrun.config.options import option_names
    from segrun.config.overrides import explained, quoted, refuse_old_names, refuse_unknown_additions

    primary, job = COMMANDS[command][0], HydraJob(command)
    refuse_old_names(words)
    refuse_unknown_additions(words, lambda: known_keys(primary))
    if command == "choose" and "--cfg" not in words:
        words = ["-m", *words]
    multirun = "-m" in words or "--multirun" in words
    sys.argv = [f"segrun {command}", *(quoted(word, multirun) for word in words)]
    with explained(words, lambda: known_keys(primary), option_names):
        hydra_main(primary, job)
    for result in job.results:
        if isinstance(result, Exception):
            raise result
    return max((result for result in job.results if isinstance(result, int)), default=0)


def hydra_main(primary: str, job: Callable[[Any], Any]) -> None:
    """Hydra's own entry point; conf/ takes precedence over the configs that launchers register."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    from segrun.config.options import conf_dir

    Plugins.instance()
    for path in (conf_dir() / "hydra" / "launcher").glob("*.yaml"):
        ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop(path.name, None)
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=primary)(job)()


def complete(words: list[str]) -> int:
    line = os.environ.get("COMP_LINE", "segrun train ")
    before, _, rest = line.lstrip().partition(" ")
    command, space, rest = rest.lstrip().partition(" ")
    if not space:
        print(" ".join(name for name in COMMANDS if name.startswith(command)))
        return 0
    if "query" in words[-1] and command not in COMMANDS:
        return 0
    os.environ["COMP_LINE"] = f"{Path(before).name} {rest}"
    sys.argv = [before, *words]
    hydra_main(COMMANDS.get(command, COMMANDS["train"])[0], print)
    return 0
