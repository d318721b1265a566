"""Somebody changes a file of a kit on its way or at the site: it is named, and nothing starts."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl_client.cli import app as client
from fl_client.settings import read_settings
from fl_client.supervision.kit_check import check_files
from fl_server.cli import app as centre
from fl_server.health.finding import Level
from fl_server.health.trust import check_signatures
from fl_server.operations.federation_folder import FederationFolder
from infomri_core.kits.key_request import KeyRequest, parse_request, private_key, request_of
from infomri_core.kits.kit import list_signature
from infomri_core.secagg.trust import read_trust
from infomri_core.system.errors import InputError

FILES = (
    "README.txt",
    "ca.crt",
    "kit.json",
    "kit.sig",
    "node.key",
    "node.pub",
    "site.toml",
    "sites.toml",
    "sites.toml.sig",
    "vault.key",
    "vault.pub",
)


def federation(path: Path, *sites: str) -> FederationFolder:
    folder = FederationFolder(path)
    path.mkdir()
    folder.open_door(["centre.example"], 443)
    for name in sites:
        folder.add_site(name)
    folder.introduce_sites()
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FederationFolder:
    return federation(tmp_path_factory.mktemp("made") / "federation", "north", "south")


def unpacked(folder: FederationFolder, name: str, to: Path) -> Path:
    with zipfile.ZipFile(folder.path / "kits" / f"{name}.zip") as kit:
        kit.extractall(to)
    return to / "site.toml"


def checked(config: Path, *, whole: bool = False) -> int:
    return check_files(config, read_settings(config), settings_too=whole)


def said(app: object, *words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    return done.output


def test_a_kit_as_it_came_is_whole_and_settings_are_the_hospitals_to_change(
    made: FederationFolder, tmp_path: Path
) -> None:
    config = unpacked(made, "north", tmp_path / "kit")
    assert {path.name for path in config.parent.iterdir()} == set(FILES)
    # All but manifest and signatures, which are what the others are held against.
    assert checked(config, whole=True) == len(FILES) - 3
    assert "as the study centre signed them" in said(
        client, "keys", "verify", "--config", str(config)
    )
    config.write_text(config.read_text().replace("study.h5", "ours.h5"))
    assert checked(config) == len(FILES) - 4
    with pytest.raises(InputError, match=r"site\.toml"):
        checked(config, whole=True)


@pytest.mark.parametrize("name", [name for name in FILES if name != "site.toml"])
@pytest.mark.parametrize("how", ["changed", "gone", "longer"])
def test_a_changed_byte_is_named_and_the_site_does_not_start(
    made: FederationFolder, tmp_path: Path, name: str, how: str
) -> None:
    config = unpacked(made, "north", tmp_path / "kit")
    path = config.parent / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if how != "gone":
        path.write_bytes(data if how == "changed" else path.name.encode() + bytes(data))
    named = {"kit.sig": "kit.json", "sites.toml.sig": "sites.toml"}.get(name, name)
    with pytest.raises(InputError) as refused:
        CliRunner().invoke(client, ["--config", str(config)], catch_exceptions=False)
    assert refused.value.where in (str(config.parent / named), str(config.parent / name))
    assert not (config.parent / "state").exists()


def test_a_whole_kit_of_another_authority_is_told_by_the_pin(
    made: FederationFolder, tmp_path: Path
) -> None:
    theirs = federation(tmp_path / "theirs", "north")
    ours = unpacked(made, "north", tmp_path / "kit")
    pinned = ours.read_text()
    unpacked(theirs, "north", tmp_path / "kit")
    ours.write_text(pinned)
    with pytest.raises(InputError, match=r"ca\.crt: expected the certificate that \[kit\]"):
        checked(ours)


def test_the_kit_of_another_site_is_not_taken(made: FederationFolder, tmp_path: Path) -> None:
    config = unpacked(made, "south", tmp_path / "kit")
    config.write_text(config.read_text().replace('"south"', '"north"'))
    with pytest.raises(InputError, match="the kit of site north"):
        checked(config)


def test_a_signature_of_one_thing_is_none_of_another(
    made: FederationFolder, tmp_path: Path
) -> None:
    config = unpacked(made, "north", tmp_path / "kit")
    folder = config.parent
    (folder / "sites.toml").write_bytes((folder / "kit.json").read_bytes())
    (folder / "sites.toml.sig").write_bytes((folder / "kit.sig").read_bytes())
    with pytest.raises(InputError, match=r"sites\.toml: expected the list"):
        checked(config)


def test_a_path_that_leads_around_the_kit_is_refused_unless_the_hospital_says_so(
    made: FederationFolder, tmp_path: Path
) -> None:
    config = unpacked(made, "north", tmp_path / "kit")
    (tmp_path / "other.toml").write_text("[sites]\n")
    text = config.read_text().replace('trusted = "sites.toml"', 'trusted = "../other.toml"')
    config.write_text(text)
    with pytest.raises(InputError, match=r"\[secure\] trusted: expected the kit's sites\.toml"):
        checked(config)
    config.write_text(text.replace("[kit]", '[kit]\nown = ["sites.toml"]'))
    assert checked(config) == len(FILES) - 5


def test_a_site_that_makes_its_keys_gives_none_away(tmp_path: Path) -> None:
    folder = federation(tmp_path / "federation", "north")
    said(client, "keys", "request", "west", "--out", str(tmp_path / "west"))
    private = [(tmp_path / "west" / name).read_bytes() for name in ("node.key", "vault.key")]
    request = tmp_path / "west" / "west.request.json"
    told = said(centre, "provision", "sign", str(request), "--out", str(folder.path))
    prints = parse_request(request.read_bytes(), "x").fingerprints
    assert all(found in told for found in prints.values()) and "to north: they replace" in told
    held = b"".join(p.read_bytes() for p in folder.path.rglob("*") if p.is_file())
    with zipfile.ZipFile(folder.path / "kits" / "west.zip") as kit:
        held += b"".join(kit.read(name) for name in kit.namelist())
        assert not {"node.key", "vault.key"} & set(kit.namelist())
    assert not any(key.splitlines()[3] in held for key in private)
    config = unpacked(folder, "west", tmp_path / "west")
    assert checked(config, whole=True) == len(FILES) - 5
    secure = read_settings(config).secure
    assert set(read_trust(secure.key, secure.trusted, "west").sites) == {"north", "west"}
    assert "kept" in said(centre, "provision", "sign", str(request), "--out", str(folder.path))
    with pytest.raises(InputError, match="no key yet"):
        said(client, "keys", "request", "west", "--out", str(tmp_path / "west"))
    (tmp_path / "west" / "node.key").write_bytes(private[1])
    with pytest.raises(InputError, match=r"node\.key: expected the private half of node\.pub"):
        checked(config)


def test_a_request_for_anothers_key_or_name_is_refused(tmp_path: Path) -> None:
    folder = federation(tmp_path / "federation", "north")
    (node, _), (vault, _), (other, _) = private_key(), private_key(), private_key()
    table = json.loads(request_of("west", node, vault))
    stolen = json.loads(request_of("west", other, vault))["node"]
    for change in (
        {"site": "north"},
        {"node": stolen},
        {"vault": table["node"]},
        {"site": "../x"},
    ):
        with pytest.raises(InputError):
            parse_request(json.dumps(table | change).encode(), "request")
    with pytest.raises(InputError, match="one twice"):
        parse_request(request_of("west", node, node), "request")
    with pytest.raises(InputError, match="one with other keys"):
        folder.admit_site(parse_request(request_of("north", node, vault), "request"))
    assert folder.admit_site(KeyRequest("west", table["node"], table["vault"]))


def test_a_list_signed_by_another_authority_is_refused(
    made: FederationFolder, tmp_path: Path
) -> None:
    config = unpacked(made, "north", tmp_path / "kit")
    text = (config.parent / "sites.toml").read_bytes()
    (config.parent / "sites.toml.sig").write_bytes(list_signature(text, private_key()[0]))
    with pytest.raises(InputError, match=r"sites\.toml: expected the list"):
        checked(config)


def test_doctor_names_a_changed_file_of_a_kit(made: FederationFolder, tmp_path: Path) -> None:
    config = unpacked(made, "north", tmp_path / "kit")
    (whole,) = check_signatures(config, "north")
    (config.parent / "README.txt").write_text("send your keys to eve")
    (changed,) = check_signatures(config, "north")
    assert (whole.level, changed.level) == (Level.OK, Level.PROBLEM)
    assert "README.txt is not the file as the study centre signed it" in changed.found
