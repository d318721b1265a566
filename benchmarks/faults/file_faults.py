"""What happens to the files of a site."""

from pathlib import Path

from typer.testing import CliRunner

from benchmarks.faults import machine
from benchmarks.faults.fault import Fault, Heal, Shot
from benchmarks.faults.site_faults import VAULT, killed
from benchmarks.faults.world import NAMES, World
from fl_client.cli import app
from tests.support.realfederation import wait_for


def state(world: World, shot: Shot) -> Path:
    """What the site keeps."""
    return world.kit(shot.site).folder / "state"


def socket_removed(world: World, shot: Shot) -> None:
    """`vault.sock` is gone; the vault listens on."""
    (state(world, shot) / "run" / "vault.sock").unlink()


def cache_lost(world: World, shot: Shot) -> None:
    """The kept replies are gone, and the vault with them."""
    for kept in (state(world, shot) / "replies").glob("*"):
        kept.unlink(missing_ok=True)
    killed(VAULT)(world, shot)


def cache_damaged(world: World, shot: Shot) -> None:
    """The kept replies have a changed byte, and the vault dies."""
    for kept in (state(world, shot) / "replies").glob("*"):
        flip(kept, kept.stat().st_size // 2)
    killed(VAULT)(world, shot)


def optimizer_cut(world: World, shot: Shot) -> Heal:
    """The newest optimizer state is cut; put back from a backup when the run has failed."""
    wait_for(lambda: bool(_optimizers(world, shot)), 120, world.told)
    kept = {path: path.read_bytes() for path in _optimizers(world, shot)}
    for path, content in kept.items():
        path.write_bytes(content[: len(content) // 2])

    def put_back() -> None:
        for path, content in kept.items():
            path.write_bytes(content)

    return put_back


def ledger_flipped(world: World, shot: Shot) -> Heal:
    """A byte of the ledger changes under the running vault; `ledger recover` when that is seen."""
    path = state(world, shot) / "ledger.jsonl"
    flip(path, path.stat().st_size // 3)

    def recover() -> None:
        world.read("ledger.* was changed")
        _recover(world, shot, "a changed byte")

    return recover


def ledger_cut(world: World, shot: Shot) -> None:
    """The ledger loses half of its last line while the client is down."""
    world.clients[NAMES[shot.site]].kill()
    wait_for(lambda: world.of(shot.site, "fl_client") == [], 30, world.told)
    path = state(world, shot) / "ledger.jsonl"
    last = path.read_bytes().splitlines(keepends=True)[-1]
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - len(last) // 2)
    world.restart_site(shot.site)


def ledger_older(world: World, shot: Shot) -> Heal:
    """The ledger loses its last line while the client is down: an older one was put back."""
    world.clients[NAMES[shot.site]].kill()
    wait_for(lambda: world.of(shot.site, "fl_client") == [], 30, world.told)
    path = state(world, shot) / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    world.restart_site(shot.site)
    return lambda: _recover(world, shot, "an older ledger was put back")


def data_replaced(world: World, shot: Shot) -> Heal:
    """`site.toml` names other data; put right when the run has failed."""
    settings = world.kit(shot.site).settings
    text = settings.read_text()
    settings.write_text(text.replace("seed=", "seed=9"))
    world.restart_site(shot.site)

    def put_back() -> None:
        settings.write_text(text)
        world.restart_site(shot.site)

    return put_back


def disk_full(world: World, shot: Shot) -> Heal:
    """No byte is left on the vault's disk."""
    disk = world.disks[shot.site]
    machine.fill(disk)
    return lambda: machine.clear(disk)


def read_only(world: World, shot: Shot) -> Heal:
    """The vault's disk takes no writes."""
    disk = world.disks[shot.site]
    machine.writable(disk, False)
    return lambda: machine.writable(disk, True)


def leftovers(world: World, shot: Shot) -> None:
    """Writes that were killed left files; the next start clears them away."""
    left = [state(world, shot) / name for name in (".a.tmp", "optimizer/.b.tmp")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    killed(VAULT)(world, shot)
    wait_for(lambda: not any(path.exists() for path in left), 120, world.told)


def flip(path: Path, place: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))


def _recover(world: World, shot: Shot, why: str) -> None:
    kit = world.kit(shot.site)
    client = world.clients[kit.name]
    client.terminate()
    client.wait(60)
    line = ["ledger", "recover", "--why", why, "--config", str(kit.settings)]
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert "no line is lost" in result.output, result.output
    world.start_site(kit)


def _optimizers(world: World, shot: Shot) -> list[Path]:
    folder = state(world, shot) / "optimizer"
    found = [p for p in folder.rglob("round-*.safetensors") if p.stat().st_mtime > _begun(world)]
    return sorted(found)


def _begun(world: World) -> float:
    return (world.folder / "plan.toml").stat().st_mtime


FAULTS = (
    Fault("vault.sock removed", socket_removed),
    Fault("kept replies lost with the vault", cache_lost),
    Fault("kept replies damaged, vault killed", cache_damaged),
    Fault("optimizer state cut", optimizer_cut, phases=("train",), hold=90.0),
    Fault("a byte of the ledger changed", ledger_flipped, "ledger.* was changed", hold=90.0),
    Fault("half a ledger line lost", ledger_cut),
    Fault("an older ledger put back", ledger_older, "missing at the end", hold=90.0),
    Fault(
        "data replaced", data_replaced, "data have changed", ("train",), hold=90.0, scored=False
    ),
    Fault("disk full at the site", disk_full, "disk|cannot be written", hold=20.0, scored=False),
    Fault(
        "disk read-only at the site",
        read_only,
        "cannot be written|Read-only",
        hold=20.0,
        scored=False,
    ),
    Fault("leftovers of killed writes", leftovers),
)
