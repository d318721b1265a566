"""How the command line ends: exit codes, and one paragraph for whatever went wrong."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from fl_server.study.failure import StudyFailed
from infomri_core.system.errors import InputError

FAILED, BAD_INPUT, DEFECT, INTERRUPTED = 1, 2, 3, 130
EPILOG = (
    "Exit codes: 0 done; 1 the study or a check failed; 2 bad input; 3 a defect of this program; "
    "130 interrupted."
)
_REPORT = "This is a defect of this program: `infomri -v ...` shows where; please report it"


@contextmanager
def interrupted(sentence: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says how things stand, and its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print(f"Interrupted: {sentence}.", soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED) from None


def ended(run: Callable[[], None]) -> int:
    """The exit code of ``run``; errors are printed in one paragraph on stderr.

    A traceback is shown of defects only, and only if debugging was asked for.
    """
    try:
        run()
    except InputError as error:
        return _told("Error", str(error), BAD_INPUT)
    except StudyFailed as error:
        return _told("Study failed", str(error), FAILED)
    except KeyboardInterrupt:
        return _told("Interrupted", "nothing continues in the background.", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _told("Error", f"{where}{error.strerror or error}", FAILED)
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.INFO):
            raise
        return _told("Error", f"{type(error).__name__}: {error}. {_REPORT}", DEFECT)
    return 0


def _told(kind: str, text: str, code: int) -> int:
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]{kind}[/bold red] {escape(text)}", soft_wrap=True)
    return code
