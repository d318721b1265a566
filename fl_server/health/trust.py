"""Certificates, keys, and whether the SuperLink answers to them."""

import base64
import datetime
import http.client
import socket
import ssl
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fl_server.health.finding import Finding, ok, problem, warning
from infomri_core.kits.kit import SETTINGS, check_kit
from infomri_core.machine.proxies import proxy_of, proxy_words
from infomri_core.secagg.trust import fingerprint, read_trust
from infomri_core.system.config import read_toml
from infomri_core.system.errors import InputError

MIN_SITES = 3
SOON = datetime.timedelta(days=30)
PATIENCE_SECONDS = 5.0
RENEW = "ask the study centre for a new one"


def check_certificate(path: Path, now: datetime.datetime | None = None) -> Iterator[Finding]:
    """The file holds certificates, each valid ``now`` and for another 30 days."""
    name = f"certificate {path.name}"
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        yield problem(name, f"{path}: {error.strerror}", "check the path and who may read it")
        return
    except ValueError:
        yield problem(name, f"{path}: not a certificate in PEM form", RENEW)
        return
    now = now or datetime.datetime.now(datetime.UTC)
    for certificate in found:
        yield _dated(name, certificate, now)


def _dated(name: str, certificate: x509.Certificate, now: datetime.datetime) -> Finding:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if start > now:
        return problem(name, f"valid from {start:%Y-%m-%d}", "check this machine's clock")
    if end <= now:
        return problem(name, f"expired on {end:%Y-%m-%d}", RENEW)
    if end - now <= SOON:
        return warning(name, f"expires on {end:%Y-%m-%d}", RENEW)
    return ok(name, f"valid until {end:%Y-%m-%d}")


def check_signatures(config: Path, site: str) -> Iterator[Finding]:
    """Every file of the kit beside ``config`` is as the study centre signed it."""
    table = read_toml(config).get("kit", {})
    if not table.get("authority"):
        yield ok("kit", "no [kit] authority: files are not held against signatures")
        return
    own = {SETTINGS, *table.get("own", ())}
    try:
        n_files = check_kit(config.resolve().parent, site, str(table["authority"]), own)
    except InputError as error:
        yield problem("kit", f"{error.where} is not {error.expected}", error.remedy)
        return
    yield ok("kit", f"{n_files} files as the study centre signed them")


def check_private_key(path: Path) -> Iterator[Finding]:
    """The file holds a node key, without a passphrase, that no one else can read."""
    name = f"key {path.name}"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except OSError as error:
        yield problem(name, f"{path}: {error.strerror}", "check the path and who may read it")
        return
    if mode & 0o077:
        yield problem(name, f"mode {mode:04o}: others can read it", f"chmod 600 {path}")
        return
    remedy = f"use the {path.name} of the kit the study centre made"
    try:
        key = _load(data)
    except TypeError:
        yield problem(name, "it has a passphrase, which cannot be typed at start", remedy)
    except (ValueError, UnsupportedAlgorithm):
        yield problem(name, "not a private key", remedy)
    else:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            yield ok(name, f"{key.curve.name}, mode {mode:04o}")
        else:
            yield problem(name, "not an elliptic curve key", remedy)


def check_secure(key: Path | None, trusted: Path | None, name: str) -> Iterator[Finding]:
    """What plans with secure aggregation need of the site ``name``: its vault's ``key`` and the
    list ``trusted``, which only its owner may write, of all sites' public keys, its own included.
    """
    check, files = "secure aggregation", [path for path in (key, trusted) if path is not None]
    if not any(path.exists() for path in files):
        remedy = "for such plans name the kit's vault.key and sites.toml in [secure]"
        yield warning(check, "not set up: plans that ask for it are refused here", remedy)
        return
    known = read_trust(key, trusted, name)
    if trusted is not None and stat.S_IMODE(trusted.stat().st_mode) & 0o022:
        yield problem(check, f"{trusted}: others can write to it", f"chmod 644 {trusted}")
    elif len(known.sites) < MIN_SITES:
        remedy = "ask the study centre for the sites.toml that names all"
        found = f"{trusted} names {', '.join(known.sites)} only; a sum is over {MIN_SITES} or more"
        yield warning(check, found, remedy)
    else:
        own = fingerprint(known.key.public_key())
        yield ok(check, f"{', '.join(sorted(known.sites))} are trusted; own key {own}")


def _load(data: bytes) -> object:
    if data.startswith(b"-----BEGIN OPENSSH"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return serialization.load_ssh_private_key(data, None)
    return serialization.load_pem_private_key(data, None)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``; ``InputError`` when it is not that."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InputError("superlink address", "host:port", repr(address), "correct it")
    return host.strip("[]"), int(port)


def check_superlink(
    address: str, root_certificate: Path | None, patience: float = PATIENCE_SECONDS
) -> Iterator[Finding]:
    """The SuperLink answers at ``address`` and proves itself to ``root_certificate``.

    Where the environment names a proxy for it, the connection goes through that proxy, as Flower's
    own does.
    """
    name = f"SuperLink {address}"
    host, port = split_address(address)
    try:
        with _connection(host, port, patience) as connection:
            yield _shake_hands(name, connection, host, root_certificate)
    except OSError as error:
        found = f"no connection: {error.strerror or error or type(error).__name__}"
        remedy = "is flower-superlink running, and the port open outward?"
        words = proxy_words(host)
        yield problem(name, found, f"{remedy} {words}" if words else remedy)


def _connection(host: str, port: int, patience: float) -> socket.socket:
    """A connection to ``host``, through the environment's proxy (HTTP CONNECT) if it names one."""
    proxy = proxy_of(host)
    if proxy is None:
        return socket.create_connection((host, port), patience)
    parts = urlsplit(proxy[1] if "//" in proxy[1] else f"//{proxy[1]}")
    headers = {}
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    tunnel = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=patience)
    tunnel.set_tunnel(host, port, headers)
    tunnel.connect()
    return tunnel.sock


def _shake_hands(
    name: str, connection: socket.socket, host: str, root_certificate: Path | None
) -> Finding:
    if root_certificate is None:
        remedy = "give the study centre's ca.crt: without it anyone can pose as the SuperLink"
        return warning(name, "something answers, who is unknown", remedy)
    try:
        context = ssl.create_default_context(cafile=root_certificate)
    except (OSError, ssl.SSLError):
        return problem(name, f"{root_certificate} holds no usable certificate", RENEW)
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            version, certificate = secured.version(), secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        remedy = "check address and ca.crt; a server certificate must name the host you dial"
        return problem(name, f"its certificate is refused: {error.verify_message}", remedy)
    except OSError as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        return problem(name, f"it does not speak TLS ({reason})", "check address and port")
    end = datetime.datetime.fromtimestamp(
        ssl.cert_time_to_seconds(str(certificate["notAfter"])), datetime.UTC
    )
    found = f"answers with {version}, certificate valid until {end:%Y-%m-%d}"
    if end - datetime.datetime.now(datetime.UTC) <= SOON:
        return warning(name, found, "the study centre should renew it")
    return ok(name, found)
