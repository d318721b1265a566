"""Who a patient is called in an archive: a keyed hash of the hospital's own id.

Without the site's secret a code can be neither traced back nor tested against a list of ids; with
it the same id always gives the same code, so that imports of different days fit together.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import unicodedata
from pathlib import Path

from infomri_core.system.errors import InputError

_LENGTH = 16


def default_secret() -> Path:
    """Where a site's secret is kept unless another place is named."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return Path(home) / "infomri" / "patients.secret"


def site_secret(path: Path) -> bytes:
    """The site's secret, 32 bytes; made at first use, readable by its owner alone.

    ``InputError`` if others may read it, or if it is not such a file.
    """
    if not path.exists():
        _make(path)
    try:
        mode, text = path.stat().st_mode & 0o777, path.read_text("ascii").strip()
        secret = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else "something else"
        remedy = "name the right file with --secret, or have your backup put back"
        raise InputError(str(path), "a site's secret", str(got), remedy) from None
    if mode & 0o077:
        raise InputError(
            str(path), "a file only its owner reads", f"mode {mode:o}", f"chmod 600 {path}"
        )
    if len(secret) != 32:
        remedy = "put the backup back: a new secret would give every patient a new code"
        raise InputError(str(path), "32 bytes in hex", f"{len(secret)}", remedy)
    return secret


def keyed(secret: bytes, kind: str, value: str) -> str:
    """HMAC-SHA256 of ``kind`` and ``value``, 64 bits in hex; kinds never meet."""
    # A file name need not be UTF-8; Python keeps its bytes as surrogates.
    message = f"{kind}\n{value}".encode(errors="surrogateescape")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:_LENGTH]


def patient_code(secret: bytes, patient: str) -> str:
    """The code under which a patient stands in archives of this site."""
    return "p" + keyed(secret, "patient", composed(patient))


def composed(name: str) -> str:
    """``name`` without blanks around it, in Unicode's composed form: an umlaut is one character or
    two, as the machine that wrote it has it, and the name is the same."""
    return unicodedata.normalize("NFC", name.strip())


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_hex(32) + "\n")
    except OSError as error:
        got = error.strerror or type(error).__name__
        remedy = "name another place with --secret"
        raise InputError(str(path), "a place for the site's secret", got, remedy) from None
