"""A federation's folder: kits that work, private files, and a second run that harms nothing."""

import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import CliRunner

from fl_client.cli import app as site_app
from fl_client.settings import read_settings
from fl_server.cli import app
from fl_server.health.finding import Level
from fl_server.health.places import DoctorRequest, checks
from fl_server.operations.control import NodeState, public_key_bytes
from fl_server.operations.federation_folder import FederationFolder
from fl_server.operations.node_registration import Registration, register_nodes
from infomri_core.secagg.trust import Trust, read_trust
from infomri_core.system.errors import InputError


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["provision", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    made = FederationFolder(tmp_path / "federation")
    run("--server", "centre.example,10.0.0.7", "--sites", "a, b", "--out", str(made.path))
    return made


def content(folder: FederationFolder) -> dict[str, bytes]:
    files = (p for p in folder.path.rglob("*") if p.is_file())
    return {str(p.relative_to(folder.path)): p.read_bytes() for p in files}


class Register:
    """What a SuperLink keeps of its nodes."""

    def __init__(self) -> None:
        self.states: dict[str, NodeState] = {}

    def nodes(self) -> list[NodeState]:
        return list(self.states.values())

    def register(self, key: Path, name: str) -> str:
        node = str(len(self.states))
        self.states[node] = NodeState(node, name, "registered", public_key_bytes(key))
        return node

    def unregister(self, node: str) -> None:
        old = self.states[node]
        self.states[node] = NodeState(node, old.name, "unregistered", old.public_key)


def test_a_second_run_changes_no_byte(folder: FederationFolder) -> None:
    before = content(folder)
    told = run("--server", "centre.example,10.0.0.7", "--sites", "a,b", "--out", str(folder.path))
    assert content(folder) == before
    assert told.count("kept") == 3


def test_a_site_added_later_trusts_the_same_authority(folder: FederationFolder) -> None:
    before = content(folder)
    run("--add-site", "c", "--out", str(folder.path))
    after = content(folder)
    lists = {"sites.toml", "sites.toml.sig", "kits/a.zip", "kits/b.zip"}
    assert all(after[name] == data for name, data in before.items() if name not in lists)
    with zipfile.ZipFile(folder.path / "kits" / "c.zip") as kit:
        assert kit.read("ca.crt") == after["ca/ca.crt"]


def test_every_site_knows_the_vault_keys_of_all_and_hears_of_changes(
    folder: FederationFolder, tmp_path: Path
) -> None:
    told = run("--add-site", "c", "--revoke-site", "a", "--out", str(folder.path))
    assert (
        f"give {folder.path / 'sites.toml'} and sites.toml.sig to b: they replace theirs" in told
    )
    for name in "bc":
        with zipfile.ZipFile(folder.path / "kits" / f"{name}.zip") as kit:
            kit.extractall(tmp_path / name)
        trust = trust_of(tmp_path / name)
        assert set(trust.sites) == {"b", "c"}
    (tmp_path / "b" / "vault.key").write_bytes((tmp_path / "c" / "vault.key").read_bytes())
    with pytest.raises(InputError, match="the public half of"):
        trust_of(tmp_path / "b")


def trust_of(kit: Path) -> Trust:
    settings = read_settings(kit / "site.toml")
    return read_trust(settings.secure.key, settings.secure.trusted, settings.site.name)


def test_whatever_is_private_is_readable_by_its_owner_only(folder: FederationFolder) -> None:
    private = [*folder.path.glob("kits/*"), *folder.path.rglob("*.key")]
    assert len(private) == 4
    with zipfile.ZipFile(folder.path / "kits" / "a.zip") as kit:
        assert {"node.key", "vault.key", "sites.toml"} <= set(kit.namelist())
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    with zipfile.ZipFile(private[0]) as kit:
        modes = {entry.external_attr >> 16 for entry in kit.infolist()}
    assert modes == {stat.S_IFREG | 0o600}


def test_a_kit_is_a_site_that_can_start(folder: FederationFolder, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder.path / "kits" / "a.zip") as kit:
        kit.extractall(tmp_path / "a")
    settings = read_settings(tmp_path / "a" / "site.toml")
    assert settings.site.name == "a"
    assert settings.superlink.address == "centre.example:443"
    assert settings.superlink.node_key == tmp_path / "a" / "node.key"
    assert "infomri-client --config" in (tmp_path / "a" / "README.txt").read_text()


def test_private_keys_of_sites_lie_in_their_kits_only(folder: FederationFolder) -> None:
    names = {p.name for p in (folder.path / "sites").rglob("*") if p.is_file()}
    assert names == {"node.pub", "vault.pub"}


def test_a_new_name_of_the_server_renews_its_certificate(folder: FederationFolder) -> None:
    assert folder.ensure_server(["10.0.0.7"]) is False
    assert folder.ensure_server(["other.example"]) is True
    pem = (folder.path / "server" / "server.crt").read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"other.example", "127.0.0.1"} <= {str(name.value) for name in names}
    certificate.verify_directly_issued_by(
        x509.load_pem_x509_certificate(folder.authority.certificate.read_bytes())
    )


def test_the_superlink_is_made_to_agree_with_the_folder_and_then_left_alone(
    folder: FederationFolder,
) -> None:
    superlink: Any = Register()
    assert register_nodes(superlink, folder) == Registration(("a", "b"), ())
    assert register_nodes(superlink, folder) == Registration((), ())
    run("--revoke-site", "a", "--add-site", "a", "--out", str(folder.path))
    change = register_nodes(superlink, folder)
    assert change.registered == ("a",)
    assert [key.rpartition("-")[0] for key in change.unregistered] == ["a"]
    assert register_nodes(superlink, folder) == Registration((), ())
    states = [(node.name, node.status) for node in superlink.nodes()]
    assert states == [("a", "unregistered"), ("b", "registered"), ("a", "registered")]


def test_a_revoked_site_leaves_no_kit_behind(folder: FederationFolder) -> None:
    run("--revoke-site", "a", "--out", str(folder.path))
    assert list(folder.sites) == ["b"]
    assert not (folder.path / "kits" / "a.zip").exists()
    with pytest.raises(InputError, match="one of b"):
        folder.revoke_site("a")


@pytest.mark.parametrize("name", ["../a", "", ".hidden", "a b"])
def test_a_name_that_is_no_file_name_is_refused(folder: FederationFolder, name: str) -> None:
    with pytest.raises(InputError, match="names of up to 64 letters"):
        folder.add_site(name)


def test_a_name_of_66_letters_is_refused_with_the_limit(
    folder: FederationFolder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"up to 64 letters.*66 characters"):
        folder.add_site("x" * 66)
    line = ["keys", "request", "x" * 66, "--out", str(tmp_path / "new")]
    with pytest.raises(InputError, match=r"up to 64 letters.*66 characters"):
        CliRunner().invoke(site_app, line, catch_exceptions=False)
    assert not (tmp_path / "new").exists()
    folder.add_site("x" * 64)


def test_a_site_needs_a_federation_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--server HOST"):
        FederationFolder(tmp_path).add_site("a")


def test_doctor_warns_before_a_certificate_of_the_folder_ends(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def levels() -> dict[str, Level]:
        found = dict(checks(DoctorRequest(federation=folder.path)))
        names = ("ca/ca.crt", "server/server.crt")
        return {name: next(iter(found[name]())).level for name in names}

    assert set(levels().values()) == {Level.OK}
    monkeypatch.setattr("fl_server.authority.certificates.SERVER_DAYS", 20)
    (folder.path / "server" / "server.key").unlink()
    assert folder.ensure_server(["centre.example"])
    assert levels() == {"ca/ca.crt": Level.OK, "server/server.crt": Level.WARNING}
