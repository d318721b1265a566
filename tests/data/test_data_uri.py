"""Data URIs are read strictly."""

import pytest

from infomri_core.data import open_dataset
from infomri_core.data.slices import SliceOptions
from infomri_core.data.uri import parse_uri, read_options
from infomri_core.system.errors import InputError


def test_options_are_decoded_and_typed() -> None:
    uri = parse_uri("slices:/data/knee 1.h5?hospital=A,B&names=Tear%2C fine&exclusive=yes")
    options = read_options(SliceOptions, uri)
    assert (uri.scheme, uri.path) == ("slices", "/data/knee 1.h5")
    assert options.hospital == ("A", "B")
    assert options.names == ("Tear, fine",)
    assert options.exclusive is True


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("knees.h5", "no scheme"),
        ("slice:knees.h5", "did you mean 'slices'"),
        ("phantom:?patient=3", "did you mean 'patients'"),
        ("phantom:?zzz=3", "the options are ambiguous, audit_fraction, "),
        ("phantom:?patients", "name=value"),
        ("phantom:?patients=4&patients=5", "'patients' twice"),
        ("phantom:?patients=many", "a value of type int, got 'many'"),
        ("slices:x.h5?exclusive=perhaps", "yes or no"),
    ],
)
def test_malformed_uris_are_refused(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(uri)
