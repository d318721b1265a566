"""What many sites cost the study centre.

    python -m benchmarks.scale simulate --sites 10 50 200   # whole studies, small model
    python -m benchmarks.scale round --sites 2 4 8          # Flower's real grid, 11 M weights
    python -m benchmarks.scale centre --sites 10 50 200     # aggregation alone, 11 M weights

``simulate`` runs ``infomri simulate``. ``round`` starts a SuperLink with TLS, node keys and SQLite
on loopback and stand-in sites that reply at once; it divides the processor time of SuperLink and
ServerApp by rounds and sites. ``centre`` decodes and adds replies in this process.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from fl_server.aggregation.strategy import aggregate
from infomri_core.machine import processes
from infomri_core.messages import TrainReply, reply_from, wire
from infomri_core.plan.plan import Aggregation
from tests.support.realfederation import Federation

RESNET18 = 11_180_000
MIB = 2**20
PLAN = """
study = {name = "scale", seed = 1}
task = {labels = ["tear", "oedema", "texture"], shape = [32, 32]}
measurement = {ratio_range = [0.05, 0.3], accelerations = [4.0, 8.0]}
model.width = 4
training = {rounds = 3, local_steps = 2, batch_size = 8}
evaluation = {attacks = ["lmmse"], attack_slices = 1}
aggregation.strategy = "STRATEGY"
arms = [{sampler = "infomri", suppression = "marginal", beta = 1e-3}, {sampler = "uniform"}]
"""
CENTRE = """
audit = {data = "phantom:?hospital=centre&patients=60&slices=2&size=32", reader_steps = 0}
centre.device = "cpu"
"""


def peak_mib(pid: int) -> float:
    """The largest resident set that a process had so far, as the kernel kept it."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def simulate(n_sites: int, strategy: str) -> dict[str, float]:
    """Wall time, seconds of the last round, processor time (by which a run on a busy machine can
    be judged), and the peak memory of the process with the ServerApp."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "plan.toml").write_text(PLAN.replace("STRATEGY", strategy))
        (out / "centre.toml").write_text(CENTRE)
        command = [processes.script("infomri"), "simulate", str(out / "plan.toml")]
        command += ["--sites", str(n_sites), "--out", str(out / "run")]
        command += ["--centre", str(out / "centre.toml")]
        started, peak, spent = time.monotonic(), 0.0, {}
        study = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        while study.poll() is None:
            peak = max(peak, _peak_if_there(study.pid))
            spent |= _spent_by_all(study.pid)
            time.sleep(0.5)
        if study.returncode:
            raise SystemExit(f"infomri simulate ended with {study.returncode}")
        (events,) = out.glob("run/centre/*/events.jsonl")
        told = [json.loads(line) for line in events.read_text().splitlines()]
        rounds = [event["seconds"] for event in told if event["event"] == "round"]
        kept = sum(p.stat().st_size for p in out.glob("run/sites/**/*") if p.is_file())
        return {
            "sites": n_sites,
            "wall s": time.monotonic() - started,
            "last round s": rounds[-1],
            "server CPU s": spent[study.pid],
            "all CPU s": sum(spent.values()),
            "server MiB": peak,
            "disk a site MiB": kept / n_sites / MIB,
        }


def _peak_if_there(pid: int) -> float:
    try:
        return peak_mib(pid)
    except (OSError, ValueError):
        return 0.0


def _spent_by_all(leader: int) -> dict[int, float]:
    """Processor seconds so far of a process and all below it, by process id."""
    found = {}
    with contextlib.suppress(psutil.Error):
        for process in (psutil.Process(leader), *psutil.Process(leader).children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
    return found


def one_round(n_sites: int, n_floats: int, n_rounds: int) -> dict[str, float]:
    """Seconds a train phase over Flower's real grid, and what SuperLink and ServerApp spend on one
    site of it. The SuperLink's processor time is counted from the run's submission on."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Federation(
            Path(folder),
            standin=True,
            STANDIN_SITES=str(n_sites),
            STANDIN_ROUNDS=str(n_rounds + 1),
            STANDIN_FLOATS=str(n_floats),
        ) as federation,
    ):
        link = psutil.Process(federation.start_superlink().pid)
        federation.join_sites(*(f"site{i}" for i in range(n_sites)))
        run_id = federation.submit()
        spent: dict[str, float] = {}
        while not federation.control.state(run_id).finished:
            spent |= _spent({"SuperLink": link, **_server_app(link)})
            time.sleep(0.5)
        phases = federation.times()[1:]
        if len(phases) < n_rounds or any(len(p["replies"]) < n_sites for p in phases):
            raise SystemExit(federation.told())
        seconds = sorted(phase["seconds"] for phase in phases)
        each = n_rounds * n_sites
        return {
            "sites": n_sites,
            "phase s": seconds[len(seconds) // 2],
            "SuperLink CPU s a site": spent["SuperLink"] / each,
            "ServerApp CPU s a site": spent["ServerApp"] / each,
            "SuperLink MiB": spent["SuperLink MiB"],
            "ServerApp MiB": spent["ServerApp MiB"],
        }


def _server_app(link: psutil.Process) -> dict[str, psutil.Process]:
    for child in link.children(recursive=True):
        if "flwr-serverapp" in " ".join(child.cmdline()):
            return {"ServerApp": child}
    return {}


def _spent(members: dict[str, psutil.Process]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, process in members.items():
        try:
            times = process.cpu_times()
            found[name] = times.user + times.system
            found[f"{name} MiB"] = peak_mib(process.pid)
        except (psutil.Error, OSError, ValueError):
            continue
    return found


def centre(n_sites: int, n_floats: int, strategy: str) -> dict[str, float]:
    """Processor seconds to decode and add one reply, and to make the aggregate of ``n_sites``;
    memory above what one reply takes. Replies are those of a real site: encoded bytes."""
    rules = Aggregation(strategy=strategy)
    generator = np.random.default_rng(0)
    flat = generator.normal(size=n_floats).astype(np.float32)
    data = wire.encode(TrainReply(48, {"arm": flat}).to_message())
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = peak_mib(os.getpid())
    total = aggregate(rules, n_floats)
    started = time.process_time()
    for _ in range(n_sites):
        reply = reply_from(wire.decode(data))
        assert isinstance(reply, TrainReply)
        total.check(reply.arms["arm"], reply.n_samples)
        total.add(reply.arms["arm"], reply.n_samples)
    added = time.process_time()
    total.value()
    return {
        "sites": n_sites,
        "s a reply": (added - started) / n_sites,
        "s the aggregate": time.process_time() - added,
        "MiB more": peak_mib(os.getpid()) - before,
    }


def _print(rows: Sequence[dict[str, float]]) -> None:
    print(" | ".join(rows[0]))
    for row in rows:
        print(" | ".join(f"{value:.4g}" for value in row.values()), flush=True)


def main() -> None:
    """Print a table of one of the three measurements, and the machine's load around it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("simulate", "round", "centre"))
    parser.add_argument("--sites", type=int, nargs="+", default=[10])
    parser.add_argument("--weights", type=int, default=RESNET18)
    parser.add_argument("--rounds", type=int, default=2, help="of `round`")
    parser.add_argument("--strategy", default="fedavg")
    options = parser.parse_args()
    measures = {
        "simulate": lambda n: simulate(n, options.strategy),
        "round": lambda n: one_round(n, options.weights, options.rounds),
        "centre": lambda n: centre(n, options.weights, options.strategy),
    }
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    _print([measures[options.what](n) for n in options.sites])
    print(f"load after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
