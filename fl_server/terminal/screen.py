"""A study on a terminal: a line for each event, a bar with the time left, the arms' losses."""

import math
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

_STAGES = {
    "start": "training",
    "resume": "training",
    "audit": "fitting the attackers",
    "evaluate": "sites score arms and attacks",
}
_QUIET = frozenset({"answer", "silent", "failed", "results"})
_STYLES = {"refused": "yellow", "dropped": "yellow", "diverged": "yellow", "concern": "yellow"}
_STYLES |= {"finished": "bold green", "lost": "yellow", "back": "green"}
_BAR_WIDTH = 30


@dataclass
class Stage:
    """How far a stage has come. ``began`` and ``seen`` are times of events, at its first and its
    last step; ``heard`` is when the last one arrived here, by this machine's clock."""

    name: str
    total: float
    began: float
    done: float = 0.0
    skipped: float = 0.0
    seen: float = 0.0
    heard: float = field(default_factory=time.monotonic)

    def step(self, done: float, at: float) -> None:
        """So much of ``total`` was done at the event time ``at``."""
        self.done, self.seen, self.heard = max(self.done, done), at, time.monotonic()

    def left(self, now: float) -> float | None:
        """Seconds left at the pace so far, at monotonic time ``now``; None before a first step."""
        if self.done <= self.skipped or self.seen <= self.began:
            return None
        pace = (self.seen - self.began) / (self.done - self.skipped)
        return max(0.0, pace * (self.total - self.done) - (now - self.heard))


@final
class Screen:
    """Shows events of one study; use as a context manager.

    On a terminal a bar and a table of the arms stay below the lines; elsewhere there are lines
    only, one an event. ``rows`` are the frontier's, ``meta`` what its caption needs, and ``run``
    the run's name, once known.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = Stage("starting", 1, time.time())
        self._sites: set[str] = set()
        self._losses: dict[str, dict[str, float]] = {}
        self._round = 0
        self.rows: list[dict[str, Any]] = []
        self.meta: dict[str, Any] = {}
        self.run = ""
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take in one event: what :class:`fl_server.run.events.Progress` told."""
        self._advance(event)
        kind = event["event"]
        if kind not in _QUIET:
            self.say(str(event["sentence"]), _STYLES.get(kind, ""))

    def say(self, sentence: str, style: str = "") -> None:
        """Print a line above the bar."""
        self._console.print(f"  {escape(sentence)}", style=style, highlight=False, soft_wrap=True)

    def _advance(self, event: dict[str, Any]) -> None:
        kind, at = event["event"], float(event["time"])
        self.run = event.get("run") or self.run
        if kind in _STAGES:
            total = float(event.get("steps") or max(1, len(self._sites)))
            begun = float(event.get("done") or 0)
            self._stage = Stage(_STAGES[kind], total, at, begun, begun)
        elif kind == "enrolled":
            self._sites.add(str(event.get("site")))
            if self._stage.done == self._stage.skipped:
                self._stage.began = at
        elif kind == "answer" and not event.get("refused"):
            self._answered(event, at)
        elif kind == "round":
            self._round = int(event["phase"])
            self._losses = dict(event.get("losses") or {})
            self._stage.total = max(1, int(event["phases"]) - 2)
            self._stage.step(self._round, at)
        elif kind == "attack":
            self._stage.step(min(self._stage.done + 1, self._stage.total), at)
        elif kind == "results":
            self.rows, self.meta = list(event["rows"]), dict(event.get("meta") or {})

    def _answered(self, event: dict[str, Any], at: float) -> None:
        """One site more: a part of a round, or of the scoring."""
        part = 1 / max(1, len(self._sites))
        if event.get("phase") == "train":
            ahead = min(self._stage.done + part, self._round + 1 - part / 2)
            self._stage.step(ahead, at)
        elif event.get("phase") == "evaluate":
            self._stage.step(self._stage.done + 1, at)

    def _render(self) -> RenderableType:
        stage = self._stage
        bar = Table.grid(padding=(0, 1))
        left = stage.left(time.monotonic())
        share = f"{min(1.0, stage.done / stage.total):.0%}"
        bar.add_row(
            self._spinner,
            stage.name,
            ProgressBar(total=stage.total, completed=stage.done, width=_BAR_WIDTH),
            share,
            "" if left is None else f"{duration(left)} left",
        )
        return Group(bar, self._arms()) if self._losses else bar

    def _arms(self) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, 2))
        terms = list(dict.fromkeys(t for arm in self._losses.values() for t in arm))
        made.add_column(f"  arm, after round {self._round}")
        for term in terms:
            made.add_column(term.upper() if len(term) < 4 else term, justify="right")
        for name, losses in self._losses.items():
            values = [f"{losses[t]:.4g}" if t in losses else "" for t in terms]
            made.add_row(f"  {name}", *values)
        return made


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
