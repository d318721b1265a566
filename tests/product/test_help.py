"""What help says is what was written: no bracket and no name in it is taken for markup."""

from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from fl_client import cli as client
from fl_server import cli as server

PROGRAMS = {"infomri": server.app, "infomri-client": client.app}


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every command below, as the words after the program's name."""
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


LINES = [
    (program, words)
    for program, app in PROGRAMS.items()
    for words in commands(typer.main.get_command(app), ())
]


@pytest.mark.parametrize(("program", "words"), LINES, ids=lambda value: " ".join(value))
def test_every_word_of_an_option_is_shown(program: str, words: tuple[str, ...]) -> None:
    app = PROGRAMS[program]
    command: click.Command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "400"}).output
    for parameter in command.params:
        for word in (getattr(parameter, "help", None) or "").replace("`", "").split():
            assert word in shown, f"{parameter.name}: {word}"
