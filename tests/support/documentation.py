"""What the documentation tells people to type: its code blocks, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import typer

import fl_client.cli
import fl_server.cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial.md"
TOLD = [ROOT / "README.md", TUTORIAL]
IN_TUTORIAL = "test_docs_code.py::test_the_tutorial_does_what_it_says"
TWO_HOSPITALS = "test_federation_real.py::test_a_killed_superlink_and_a_resume_change_nothing"
DEMO = "test_demo.py::test_one_command_leaves_results_figure_ledgers_and_store_and_no_process"
SIGNED = "test_signed_report.py::test_an_operator_signs_and_a_hospital_checks_with_its_kit_alone"
RUN_BY = {
    "make demo": DEMO,
    "make test": "test_docs.py::test_make_has_the_targets_that_are_told",
    "infomri demo": DEMO,
    "infomri init": "test_init.py::test_the_files_fit_the_data_and_each_other",
    "infomri dashboard": "test_dashboard_browser.py::test_every_page_of_a_finished_study_is_drawn",
    "infomri data import dicom": IN_TUTORIAL,
    "infomri data split": IN_TUTORIAL,
    "infomri data check": IN_TUTORIAL,
    "infomri train": IN_TUTORIAL,
    "infomri simulate": "test_simulate.py::"
    "test_sites_in_rays_processes_give_the_weights_of_the_federation_and_leave_nothing_behind",
    "infomri masks export": IN_TUTORIAL,
    "infomri diagnose": IN_TUTORIAL,
    "infomri audit": IN_TUTORIAL,
    "infomri compare": IN_TUTORIAL,
    "infomri model list": IN_TUTORIAL,
    "infomri model approve": IN_TUTORIAL,
    "infomri provision": TWO_HOSPITALS,
    "flower-superlink --host": TWO_HOSPITALS,
    "unzip federation/kits/north.zip": TWO_HOSPITALS,
    "chmod 700": TWO_HOSPITALS,
    "infomri doctor": TWO_HOSPITALS,
    "infomri-client plan show": TWO_HOSPITALS,
    "infomri-client plan approve": TWO_HOSPITALS,
    "infomri-client plan revoke": "test_site_commands.py::"
    "test_an_approval_names_who_and_when_and_a_revocation_takes_it_back",
    "infomri-client plan list": "test_decisions.py::"
    "test_plans_are_listed_as_sent_approved_and_declined",
    "infomri-client plan decline": "test_decisions.py::"
    "test_a_declined_plan_is_refused_with_the_reason_until_it_is_approved",
    "infomri-client": TWO_HOSPITALS,
    "infomri run": TWO_HOSPITALS,
    "infomri status": TWO_HOSPITALS,
    "infomri follow": TWO_HOSPITALS,
    "infomri stop": "test_federation_processes.py::test_a_study_is_stopped_from_the_command_line",
    "infomri-client ledger show": TWO_HOSPITALS,
    "infomri-client ledger verify": TWO_HOSPITALS,
    "infomri-client ledger export": TWO_HOSPITALS,
    "infomri-client ledger recover": "test_site_commands.py::"
    "test_a_broken_ledger_is_recovered_by_name_and_reason",
    "infomri operator sign": SIGNED,
    "infomri-client report verify": SIGNED,
}
PROGRAMS: dict[str, click.Command] = {
    "infomri": typer.main.get_command(fl_server.cli.app),
    "infomri-client": typer.main.get_command(fl_client.cli.app),
}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.M | re.S)
_INLINE = re.compile(r"`(infomri(?:-client)? [^`]+)`")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_ENDS = re.compile(r"&&|\|\||[|;]")


@dataclass(frozen=True)
class Invocation:
    """One program with its words, as a reader would type it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"

    @property
    def program(self) -> str:
        """Its name, without the folder of a virtual environment."""
        return self.words[0].rpartition("/")[2]

    @property
    def subcommand(self) -> str:
        """Program and subcommands, such as 'infomri masks export'; programs' own otherwise."""
        if self.program not in PROGRAMS:
            return " ".join((self.program, *self.words[1:2]))
        return " ".join(resolve(self.program, self.words[1:])[0])


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of ``page`` in one of ``languages``."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [re.sub(rf"^{indent}", "", body, flags=re.M) for indent, kind, body in found
            if kind in languages]  # fmt: skip


def invocations(page: Path) -> list[Invocation]:
    """Every command in the shell blocks of ``page``."""
    name = str(page.relative_to(ROOT))
    return [
        Invocation(name, words)
        for block in blocks(page, "sh", "console", "bash")
        for line in block.replace("\\\n", " ").splitlines()
        for words in _commands(line)
    ]


def inline(page: Path) -> list[Invocation]:
    """Commands in the running text of ``page``, whole or the beginning of one; `a|b` is two."""
    text = re.sub(r"\s+", " ", _FENCE.sub("", page.read_text(encoding="utf-8")))
    name = str(page.relative_to(ROOT))
    return [
        Invocation(name, words)
        for found in _INLINE.findall(text)
        for words in product(*(w.split("|") for w in shlex.split(found.replace("\\|", "|"))))
    ]


def _commands(line: str) -> Iterator[tuple[str, ...]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "&&"]:
        if not _ENDS.fullmatch(word) and word != "&":
            words.append(word)
            continue
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words.pop(0)
        if words:
            yield tuple(words)
        words = []


def resolve(program: str, words: tuple[str, ...]) -> tuple[list[str], click.Command, list[str]]:
    """The command that ``words`` name, its path, and the words that are left for it.

    Raises ``LookupError`` for a subcommand that is not there.
    """
    path, command, rest = [program], PROGRAMS[program], list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            raise LookupError(f"{' '.join(path)} has no command '{rest[0]}'")
        command = command.commands[rest[0]]
        path.append(rest.pop(0))
    return path, command, rest


def options(command: click.Command) -> set[str]:
    """Every spelling of an option that ``command`` knows."""
    known = {"--help", "--install-completion", "--show-completion"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    return known
