"""The files an installation begins with are files the programs accept."""

from pathlib import Path

import fl_client.settings
import fl_server.settings

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_the_site_file_shipped_is_one_a_client_reads() -> None:
    settings = fl_client.settings.read_settings(DEPLOY / "site.toml")
    assert settings.policy.approvals == "listed"
    assert settings.superlink.root_certificate == DEPLOY / "ca.crt"


def test_the_centre_file_shipped_is_one_a_server_reads() -> None:
    settings = fl_server.settings.read_settings(DEPLOY / "centre.toml")
    assert settings.centre.directory == DEPLOY / "runs"
