"""A report that was changed on its way to a hospital, or that somebody else signed, is refused."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl_client.cli import app as site_app
from fl_server.authority.certificates import Authority, authority, server_certificate
from fl_server.authority.operators import operator_files, read_operator
from fl_server.cli import app
from infomri_core.kits.signed_file import check_signed, sign_file
from infomri_core.system.errors import InputError

REPORT = b"<html>the strongest attack gets 19.1 dB</html>"


def now() -> datetime.datetime:
    """A certificate is in force from when it was made on, which may be long after the import."""
    return datetime.datetime.now(datetime.UTC)


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return authority(tmp_path / "ca")


@pytest.fixture
def report(tmp_path: Path, ca: Authority) -> Path:
    path = tmp_path / "privacy-report.html"
    path.write_bytes(REPORT)
    own = read_operator(unpacked(tmp_path / "ada", operator_files(ca, "ada")))
    sign_file(path, own.certificate, own.key, now())
    return path


def test_an_operator_signs_and_a_hospital_checks_with_its_kit_alone(
    tmp_path: Path, ca: Authority, report: Path
) -> None:
    signed = CliRunner().invoke(
        app, ["operator", "sign", str(report), "--operator", str(tmp_path / "ada")]
    )
    assert signed.exit_code == 0, signed.output
    found = CliRunner().invoke(
        site_app, ["report", "verify", str(report), "--ca", str(ca.certificate)]
    )
    assert found.exit_code == 0, found.output
    assert "is as ada signed it" in found.output


def other_bytes(report: Path) -> None:
    report.write_bytes(REPORT.replace(b"19.1", b"17.1"))


def of_claim(field: str, value: str) -> Callable[[Path], None]:
    def change(report: Path) -> None:
        place = report.with_name(report.name + ".signature")
        made = json.loads(place.read_text())
        made["claim"][field] = value
        place.write_text(json.dumps(made))

    return change


def of_server(report: Path) -> None:
    """Signed with the certificate of the study's own server, which is no operator's."""
    ca = authority(report.parent / "ca")
    made = server_certificate(ca, report.parent / "server", ["localhost"])
    kit = {"operator.crt": made.certificate, "operator.key": made.key}
    files = {name: path.read_bytes() for name, path in kit.items()}
    own = read_operator(unpacked(report.parent / "bob", files))
    sign_file(report, own.certificate, own.key, now())


def of_another_study(report: Path) -> None:
    other = authority(report.parent / "other")
    own = read_operator(unpacked(report.parent / "bob", operator_files(other, "ada")))
    sign_file(report, own.certificate, own.key, now())


def long_ago(report: Path) -> None:
    """Signed at a time at which the certificate was not in force."""
    own = read_operator(report.parent / "ada")
    sign_file(report, own.certificate, own.key, now() - datetime.timedelta(days=900))


def malformed(report: Path) -> None:
    report.with_name(report.name + ".signature").write_bytes(b"[" * 5000)


CHANGES = {
    "other bytes": other_bytes,
    "another sha256 in the claim": of_claim("sha256", "0" * 64),
    "another time in the claim": of_claim("time", "2026-01-01T00:00:00+00:00"),
    "another name in the claim": of_claim("file", "other.html"),
    "a time that is none": of_claim("time", "yesterday"),
    "the server's certificate": of_server,
    "another study's operator": of_another_study,
    "a certificate not in force": long_ago,
    "no signature": lambda report: report.with_name(report.name + ".signature").unlink(),
    "no file": lambda report: report.unlink(),
    "a malformed signature": malformed,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_no_operator_signed_is_refused(
    ca: Authority, report: Path, change: Callable[[Path], None]
) -> None:
    assert check_signed(report, ca.certificate).operator == "ada"
    change(report)
    with pytest.raises(InputError):
        check_signed(report, ca.certificate)


def test_a_signed_file_under_another_name_is_refused(ca: Authority, report: Path) -> None:
    copy = report.with_name("copy.html")
    copy.write_bytes(report.read_bytes())
    place = report.with_name(report.name + ".signature")
    copy.with_name(copy.name + ".signature").write_bytes(place.read_bytes())
    with pytest.raises(InputError, match="name that was signed"):
        check_signed(copy, ca.certificate)
