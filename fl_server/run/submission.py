"""Who submitted a study: a statement that the operator's key signs and the ServerApp checks.

Flower 1.41 tells the ServerApp nothing of the connection by which a run was submitted. So
``infomri run`` signs the plan's sha256 with the operator's key and sends the statement in the run
config. It counts once and for a day: a reader of it cannot submit with it again.
"""

import base64
import contextlib
import datetime
import hashlib
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fl_server.authority.operators import Operator, check_operator, fingerprint
from infomri_core.system.errors import InputError
from infomri_core.system.files import append_line

CONTEXT = b"infomri-submission-v1\n"
KEY = "operator"
FILE = "submissions.jsonl"
logger = logging.getLogger(__name__)
_LASTS = datetime.timedelta(days=1)
_SKEW = datetime.timedelta(minutes=10)
_WHERE = "run config: operator"
_REMEDY = "submit with `infomri run --operator FOLDER`, the folder of an operator's kit"


@dataclass(frozen=True)
class Submission:
    """One submission that was checked: the operator's ``name``, the sha256 of the certificate,
    and the time of the statement, ISO 8601."""

    operator: str
    certificate: str
    time: str


def statement(
    operator: Operator, plan_text: str, resume: str, now: datetime.datetime | None = None
) -> str:
    """What goes into the run config under :data:`KEY`: one base64 string."""
    claim = {
        "plan": _digest(plan_text),
        "resume": resume,
        "time": (now or datetime.datetime.now(datetime.UTC)).isoformat(timespec="seconds"),
        "nonce": secrets.token_hex(16),
    }
    signature = operator.key.sign(_signed(claim), ec.ECDSA(hashes.SHA384()))
    certificate = operator.certificate.public_bytes(Encoding.PEM).decode()
    made = {"claim": claim, "certificate": certificate, "signature": signature.hex()}
    return base64.b64encode(json.dumps(made).encode()).decode("ascii")


def check_statement(
    text: str,
    plan_text: str,
    resume: str,
    authority: Path,
    used: Path,
    now: datetime.datetime | None = None,
) -> Submission:
    """Whose statement ``text`` is, for this plan and ``resume``; the folder ``used`` keeps which
    were used. Raises ``InputError`` for any that the operator did not make for this run, today."""
    now = now or datetime.datetime.now(datetime.UTC)
    if not text:
        raise InputError(_WHERE, "a submission that an operator signed", "none", _REMEDY)
    claim, certificate, signature = _parsed(text)
    name = check_operator(certificate, authority, now, _WHERE)
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _bad("a key of another kind")
    try:
        key.verify(signature, _signed(claim), ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise _bad("a wrong signature") from None
    if (claim["plan"], claim["resume"]) != (_digest(plan_text), resume):
        raise _bad("a statement about another study")
    made = _time(claim["time"])
    if not now - _LASTS <= made <= now + _SKEW:
        raise _bad(f"one of {claim['time']}")
    _use_once(used, claim["nonce"], now)
    return Submission(name, fingerprint(certificate), claim["time"])


def record(directory: Path, submission: Submission) -> None:
    """Add a submission to a run's folder: the first, and one for each resumption."""
    append_line(directory / FILE, json.dumps(asdict(submission)))


def operators_of(directory: Path) -> list[str]:
    """The names of those who submitted and resumed a run, in order, each once; a line that a
    killed writer left torn is skipped."""
    path, names = directory / FILE, []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            names.append(str(json.loads(line)["operator"]))
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: a torn line was skipped", path)
    return list(dict.fromkeys(names))


def _parsed(text: str) -> tuple[dict[str, str], x509.Certificate, bytes]:
    try:
        made = json.loads(base64.b64decode(text, validate=True))
        claim = {name: made["claim"][name] for name in ("plan", "resume", "time", "nonce")}
        certificate = x509.load_pem_x509_certificate(made["certificate"].encode())
        signature = bytes.fromhex(made["signature"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _bad("something else") from None
    if not all(isinstance(value, str) for value in claim.values()):
        raise _bad("something else")
    return claim, certificate, signature


def _use_once(folder: Path, nonce: str, now: datetime.datetime) -> None:
    """Note a statement as used; notes of those that have run out are cleared away."""
    if len(nonce) != 32 or not set(nonce) <= set("0123456789abcdef"):
        raise _bad("something else")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < (now - 2 * (_LASTS + _SKEW)).timestamp():
                old.unlink()
    try:
        (folder / nonce).touch(exist_ok=False)
    except FileExistsError:
        raise _bad("one that was used before") from None


def _time(text: str) -> datetime.datetime:
    try:
        made = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise _bad("no time") from None
    if made.tzinfo is None:
        raise _bad("a time without a zone")
    return made


def _signed(claim: Mapping[str, Any]) -> bytes:
    return CONTEXT + json.dumps(claim, sort_keys=True).encode()


def _digest(plan_text: str) -> str:
    return hashlib.sha256(plan_text.encode()).hexdigest() if plan_text else ""


def _bad(got: str) -> InputError:
    return InputError(_WHERE, "a submission that an operator signed for this study", got, _REMEDY)
