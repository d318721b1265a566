"""Commands as they are printed: what is pasted into a shell runs, in this environment."""

import shlex
import shutil
from pathlib import Path

from infomri_core.machine import processes


def shell_command(program: str, *arguments: object) -> str:
    """The command line, each word quoted for a POSIX shell.

    ``program`` is a console script, such as infomri or mlflow. Where the shell would find none of
    that name, or another environment's, this environment's is named with its path.
    """
    return shlex.join([_program(program), *map(str, arguments)])


def _program(name: str) -> str:
    own, found = Path(processes.script(name)), shutil.which(name)
    if not own.exists() or (found is not None and Path(found).resolve() == own.resolve()):
        return name
    return str(own)
