"""Who is not the operator tries to be: at a real nginx before a real SuperLink, and by replay."""

import asyncio
import base64
import datetime
import json
import os
import ssl
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl_server.authority import operators
from fl_server.authority.certificates import (
    Authority,
    authority,
    certificate_pem,
    key_pem,
    leaf_builder,
    load_signer,
)
from fl_server.authority.operators import operator_files, read_operator, revoke
from fl_server.operations.control import Control, operator_context
from fl_server.operations.federation_folder import FederationFolder
from fl_server.operations.forwarder import forwarded
from fl_server.run.submission import check_statement, operators_of, statement
from fl_server.serverapp import run_config, submission_of
from fl_server.settings import Audit, Centre, CentreSettings, Operators
from infomri_core.kits.operator_certificate import UNIT
from infomri_core.machine import processes
from infomri_core.system.errors import InputError
from tests.server.test_proxy import answers, start_proxy
from tests.support.realfederation import PLAN, Federation, wait_for

pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@dataclass
class Study:
    """A SuperLink behind nginx: ``address`` is the proxy's, ``kit`` an operator's folder."""

    federation: Federation
    address: str
    kit: Path
    folder: Path

    @property
    def ca(self) -> Authority:
        return self.federation.superlink.authority

    def status(self, path: str, kit: Path | None = None) -> int:
        """The HTTP status of a POST, shown the certificate in ``kit``."""
        trust = ssl.create_default_context(cafile=self.ca.certificate)
        if kit is not None:
            trust.load_cert_chain(kit / "operator.crt", kit / "operator.key")
        host, _, port = self.address.partition(":")
        connection = HTTPSConnection(host, int(port), timeout=10, context=trust)
        try:
            connection.request("POST", path, b"", {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("operator")
    with Federation(folder, standin=True, STANDIN_SITES="0") as made:
        asks = f'[operators]\nauthority = "{folder}/superlink/ca/ca.crt"\n'
        superlink = made.start_superlink('[audit]\ndata = "phantom:?seed=1"\n' + asks)
        kit = unpacked(folder / "ada", operator_files(superlink.authority, "ada"))
        shut_out = unpacked(folder / "eve", operator_files(superlink.authority, "eve"))
        revoke(superlink.authority, read_operator(shut_out).certificate)
        (folder / "nginx").mkdir()
        proxy, port = start_proxy(folder / "nginx", superlink.options.folder, superlink.address)
        made.callback(processes.stop, proxy, 10.0)
        wait_for(lambda: answers(port), 20, (folder / "nginx" / "nginx.log").read_text)
        yield Study(made, f"127.0.0.1:{port}", kit, folder)


def test_an_operator_lists_submits_and_stops_through_the_proxy(study: Study) -> None:
    before = len(study.federation.control.runs())
    with Control.named(study.address, study.kit) as control:
        run = control.submit(run_config(PLAN, "", read_operator(study.kit)))
        assert len(control.runs()) == before + 1
        control.stop(run)
        assert control.nodes() == []


def test_beside_the_superlink_no_study_runs_that_no_operator_signed(study: Study) -> None:
    control = study.federation.control
    config = run_config(PLAN, "", read_operator(study.kit))
    signed, unsigned = control.submit(config), control.submit(run_config(PLAN))
    assert study.federation.finish(signed).outcome == "completed"
    end = study.federation.finish(unsigned)
    assert end.outcome == "failed" and "expected a submission that an operator" in end.details


def test_without_a_certificate_the_operators_side_is_shut(study: Study) -> None:
    assert study.status("/v1/control/list-runs") == 403
    with (
        Control(study.address, study.ca.certificate) as control,
        pytest.raises(InputError, match="403"),
    ):
        control.runs()


def forged(study: Study, name: str) -> dict[str, bytes]:
    """Certificates that are nearly an operator's."""
    ca, signer = study.ca, load_signer(study.ca.key)
    key = ec.generate_private_key(ec.SECP384R1())
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, UNIT)
    common = x509.NameAttribute(NameOID.COMMON_NAME, "ada")
    subjects = {
        "no unit": [common],
        "unit within a name": [x509.NameAttribute(NameOID.COMMON_NAME, f"x,OU={UNIT}")],
    }
    subject = x509.Name(subjects.get(name, [unit, common]))
    days = -1 if name == "expired" else 9
    usages = {"a server's": ExtendedKeyUsageOID.SERVER_AUTH}
    usage = usages.get(name, ExtendedKeyUsageOID.CLIENT_AUTH)
    if name == "expired":
        builder = leaf_builder(ca, signer, subject, key.public_key(), 1, usage)
        builder._not_valid_before = datetime.datetime(2020, 1, 1)
        builder._not_valid_after = datetime.datetime(2020, 1, 1) - datetime.timedelta(days=days)
    else:
        builder = leaf_builder(ca, signer, subject, key.public_key(), days, usage)
    return {"operator.crt": certificate_pem(builder, signer), "operator.key": key_pem(key)}


@pytest.mark.parametrize(
    "name",
    ["another authority's", "revoked", "expired", "a server's", "no unit", "unit within a name"],
)
def test_no_other_certificate_opens_it(study: Study, tmp_path: Path, name: str) -> None:
    if name == "revoked":
        kit = study.folder / "eve"
    elif name == "another authority's":
        kit = unpacked(tmp_path / "kit", operator_files(authority(tmp_path / "ca"), "ada"))
    else:
        kit = unpacked(tmp_path / "kit", forged(study, name))
    assert study.status("/v1/control/list-runs", kit) in (400, 403)
    certificate = x509.load_pem_x509_certificate((kit / "operator.crt").read_bytes())
    with pytest.raises(InputError):
        operators.check_operator(
            certificate, study.ca.certificate, datetime.datetime.now(datetime.UTC), "x"
        )


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/runtime/acquire-task", "/v1/control/../runtime/acquire-task", "/v1/controls"],
)
def test_an_operator_reaches_nothing_but_the_operators_side(study: Study, path: str) -> None:
    assert study.status(path, study.kit) in (400, 403, 404)


def test_flowers_own_command_line_gets_through_a_port_on_loopback(
    study: Study, tmp_path: Path
) -> None:
    host, _, port = study.address.partition(":")

    async def listed() -> tuple[int, str]:
        trust = operator_context(study.kit)
        async with forwarded(0, (host, int(port)), trust) as found:
            text = f'[superlink.forwarded]\naddress = "127.0.0.1:{found}"\ninsecure = true\n'
            (tmp_path / "config.toml").write_text(text)
            line = [processes.script("flwr"), "list", "forwarded", "--format", "json"]
            variables = {**os.environ, "FLWR_HOME": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0"}
            done = await asyncio.to_thread(
                subprocess.run, line, env=variables, capture_output=True, text=True, timeout=60
            )
            return done.returncode, done.stdout + done.stderr

    code, said = asyncio.run(listed())
    assert code == 0 and '"success": true' in said, said


def centre(folder: Path, ca: Authority) -> CentreSettings:
    return CentreSettings(
        Audit("phantom:"), Centre(folder / "runs"), operators=Operators(ca.certificate)
    )


def test_the_serverapp_takes_a_submission_once_and_knows_whose_it_is(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    kit = unpacked(tmp_path / "ada", operator_files(ca, "ada"))
    config = run_config(PLAN, "", read_operator(kit))
    submitted = submission_of(config, centre(tmp_path, ca))
    assert submitted is not None and submitted.operator == "ada"
    with pytest.raises(InputError, match="used before"):
        submission_of(config, centre(tmp_path, ca))
    with pytest.raises(InputError, match="got none"):
        submission_of(run_config(PLAN), centre(tmp_path, ca))


def altered(text: str, **claim: str) -> str:
    made = json.loads(base64.b64decode(text))
    made["claim"] |= claim
    return base64.b64encode(json.dumps(made).encode()).decode()


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ("plan", "another study"),
        ("resume", "another study"),
        ("old", ""),
        ("from tomorrow", ""),
        ("nonce", "wrong signature"),
        ("certificate", "wrong signature"),
        ("noise", "something else"),
    ],
)
def test_no_statement_serves_for_anything_else(tmp_path: Path, change: str, got: str) -> None:
    ca = authority(tmp_path / "ca")
    ada = read_operator(unpacked(tmp_path / "ada", operator_files(ca, "ada")))
    bob = read_operator(unpacked(tmp_path / "bob", operator_files(ca, "bob")))
    now = ada.certificate.not_valid_before_utc + datetime.timedelta(hours=1)
    days = {"old": -2, "from tomorrow": 1}.get(change, 0)
    got = f"one of {(now + datetime.timedelta(days=days)).date()}" if days else got
    text = statement(ada, PLAN, "", now + datetime.timedelta(days=days))
    if change == "nonce":
        text = altered(text, nonce="0" * 32)
    if change == "certificate":
        made = json.loads(base64.b64decode(text))
        other = json.loads(base64.b64decode(statement(bob, PLAN, "", now)))
        made["certificate"] = other["certificate"]
        text = base64.b64encode(json.dumps(made).encode()).decode()
    if change == "noise":
        text = base64.b64encode(b'{"claim": []}').decode()
    plan = PLAN + "# another\n" if change == "plan" else PLAN
    resume = "knee-1" if change == "resume" else ""
    with pytest.raises(InputError, match=got):
        check_statement(text, plan, resume, ca.certificate, tmp_path / "used", now)
    assert not list((tmp_path / "used").glob("*"))


def test_a_revoked_operator_of_the_folder_submits_no_more(tmp_path: Path) -> None:
    folder = FederationFolder(tmp_path / "federation")
    folder.path.mkdir()
    folder.open_door(["centre.example"], 443)
    folder.add_site("north")
    assert folder.add_operator("ada") and not folder.add_operator("ada")
    folder.add_site("south")
    folder.introduce_sites()
    with zipfile.ZipFile(folder.path / "kits" / "operator-ada.zip") as kit:
        assert set(kit.namelist()) == {"README.txt", "ca.crt", "operator.crt", "operator.key"}
        kit.extractall(tmp_path / "ada")
    assert not list((folder.path / "operators").glob("*.key"))
    operator = read_operator(tmp_path / "ada")
    ca = folder.authority
    check_statement(statement(operator, PLAN, ""), PLAN, "", ca.certificate, tmp_path / "used")
    folder.revoke_operator("ada")
    with pytest.raises(InputError, match="revoked"):
        check_statement(statement(operator, PLAN, ""), PLAN, "", ca.certificate, tmp_path / "used")
    assert operators_of(tmp_path / "nowhere") == []
