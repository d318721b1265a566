"""How a disk fills, a clock jumps, a certificate ends and a key is copied, in a :class:`World`."""

import contextlib
import datetime
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.faults.world import World
from fl_server.authority.certificates import SiteKit, authority, server_certificate


class NotHere(Exception):
    """This machine cannot show the case; the sentence says why."""


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own, of that size, at ``folder``; needs the right to mount."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise NotHere("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def filled(disk: Path) -> None:
    """Take the last byte of a disk."""
    with (disk / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))


def cleared(disk: Path) -> None:
    """Make room again."""
    (disk / "filler").unlink()


@contextmanager
def shifted(world: World) -> Iterator[Callable[[float], None]]:
    """A function that sets by how many seconds site a's clock is wrong, while it runs."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotHere("needs a C compiler")
    library, skew = world.folder / "clock.so", world.folder / "skew"
    source = Path(__file__).parent / "clock.c"
    line = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(line, check=True)
    skew.write_bytes(struct.pack("d", 0.0))
    world.variables["a"] = {"LD_PRELOAD": str(library), "SKEW_FILE": str(skew)}

    def shift(seconds: float) -> None:
        with skew.open("r+b") as stream:
            stream.write(struct.pack("d", seconds))

    yield shift


@contextmanager
def expired(world: World, seconds: float) -> Iterator[Callable[[], None]]:
    """A server certificate that ends ``seconds`` from now; gives the function that renews it."""
    folder = world.folder / "superlink"
    ca = authority(folder / "ca")
    made = server_certificate(ca, folder / "server")
    good = made.certificate.read_bytes()
    made.certificate.write_bytes(_ending(good, ca.key, seconds))
    yield lambda: made.certificate.write_bytes(good) and None


def _ending(certificate: bytes, authority_key: Path, seconds: float) -> bytes:
    """The same certificate, but for its end."""
    given = x509.load_pem_x509_certificate(certificate)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(given.subject)
        .issuer_name(given.issuer)
        .public_key(given.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(seconds=seconds))
    )
    for extension in given.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    key = serialization.load_pem_private_key(authority_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = builder.sign(key, hashes.SHA384())
    return signed.public_bytes(serialization.Encoding.PEM)


def second_client(world: World) -> Path:
    """Start a copy of site a's kit, node key and all, in a folder of its own; its log."""
    original, folder = world.kits["a"], world.folder / "copy"
    shutil.copytree(original.folder, folder, ignore=shutil.ignore_patterns("state", "*.log"))
    names = ("site.toml", "node.key", "node.pub", "vault.key", "vault.pub")
    kit = SiteKit("copy", folder, *(folder / name for name in names))
    kit.node_key.chmod(0o600)
    world.start_site(kit)
    return folder / "client.log"
