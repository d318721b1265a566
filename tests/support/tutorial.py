"""The tutorial's federation, made by typing its commands: a study centre and two hospitals."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import tomli_w
from typer.testing import CliRunner

import fl_client.cli
import fl_server.cli
from fl_server.operations.superlink import environment
from infomri_core.machine import processes
from infomri_core.machine.ports import free_port
from infomri_core.system.errors import InputError
from tests.support.documentation import TUTORIAL, invocations
from tests.support.realfederation import CONNECTION, pids_in, wait_for
from tests.support.small import AUDIT_URI, site_uri

HOSPITALS = ("north", "south")
CENTRE = {
    "audit": {"data": AUDIT_URI, "cnn_steps": 3, "unet_steps": 3, "reader_steps": 3},
    "centre": {"directory": "runs", "device": "cpu", "threads": 1},
}
SITE = '[vault]\ndevice = "cpu"\nthreads = 1\n[policy]\nmin_cohort = 2'


def call(program: str, *words: str, code: int = 0) -> str:
    """What one of our commands says, run through its entry point in this process."""
    app = fl_server.cli.app if program == "infomri" else fl_client.cli.app
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


class TwoHospitals(ExitStack):
    """The fifth part of the tutorial in ``folder``, the working directory: its own words, but for
    the port that sites dial, the size of plan and data, and the second hospital's name. ``left``:
    the commands that were not typed yet."""

    def __init__(self, folder: Path, plan: str) -> None:
        super().__init__()
        self.folder, self.port = folder, free_port()
        self._started: list[Popen] = []
        self.callback(processes.stop_all, self._started, 20.0)
        (folder / "plan.toml").write_text(plan)
        (folder / "centre.toml").write_text(tomli_w.dumps(CENTRE))
        home = Path(os.environ["FLWR_HOME"])
        home.mkdir()
        address, certificate = f"127.0.0.1:{self.port}", folder / "federation/ca/ca.crt"
        text = CONNECTION.format(address=address, certificate=certificate)
        (home / "config.toml").write_text(text)
        lines = [" ".join(line.words) for line in invocations(TUTORIAL)]
        first = next(i for i, line in enumerate(lines) if line.startswith("infomri provision"))
        last = next(i for i, line in enumerate(lines) if "ledger verify" in line)
        self._lines = [line.words for line in invocations(TUTORIAL)[first : last + 1]]
        self.left = {" ".join(words) for words in self._lines}

    def words(self, start: str, hospital: str = "north") -> list[str]:
        """The tutorial's command that starts so, as it is typed here."""
        found = next(w for w in self._lines if " ".join(w).startswith(start))
        self.left.discard(" ".join(found))
        typed = [word.replace("8000", str(self.port)) for word in found]
        both = start.startswith("infomri provision")
        return typed if both else [word.replace("north", hospital) for word in typed]

    def type(self, start: str, hospital: str = "north") -> str:
        """What that command says; it must not fail."""
        program, *words = self.words(start, hospital)
        if program in ("infomri", "infomri-client"):
            return call(program, *words)
        return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout

    def start(self, start: str, log: str, hospital: str = "north") -> Popen:
        """That command in the background."""
        program, *words = self.words(start, hospital)
        line = [processes.script(program), *words]
        variables = {
            **environment(Path(os.environ["FLWR_HOME"])),
            "INFOMRI_CENTRE": "centre.toml",
            "OMP_NUM_THREADS": "1",
        }
        self._started.append(processes.start(line, self.folder / log, variables))
        return self._started[-1]

    def start_superlink(self) -> Popen:
        """The SuperLink, once it answers."""
        process = self.start("flower-superlink", "superlink.log")

        def answers() -> bool:
            try:
                return bool(call("infomri", "status"))
            except InputError:
                return False

        wait_for(answers, 60, self.told)
        return process

    def open_kit(self, hospital: str) -> None:
        """As the tutorial says: unpacked, closed to others, and with data named."""
        self.type("unzip", hospital)
        self.type("chmod", hospital)
        path = self.folder / f"infomri-{hospital}" / "site.toml"
        text = path.read_text().replace("slices:study.h5", site_uri(hospital))
        path.write_text(text.replace("[policy]", SITE))

    def told(self) -> str:
        """Everything that helps to understand a failure."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs)

    def pids(self) -> list[int]:
        """Processes that lie in the folder."""
        return pids_in(self.folder)
