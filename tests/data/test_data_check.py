"""`data check` finds what is wrong in an archive; `data split` divides patients alike."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from infomri_core.data import open_dataset
from infomri_core.data.checking.columns import Columns
from infomri_core.data.checking.divide import divide_patients, parse_ratio
from infomri_core.data.labels import Labels
from infomri_core.system.errors import InputError
from tests.support.hospital_files import blob
from tests.support.importing import call, columns

N, SIDE = 12, 64


def pixels() -> np.ndarray:
    noise = np.abs(np.random.default_rng(1).normal(0, 10, (N, SIDE, SIDE)))
    # Patients differ in where the spot lies, not only in how bright it is.
    images = np.stack(
        [np.roll(blob(SIDE, SIDE, i / N), (7 * (i // 2), 4 * (i // 2)), (0, 1)) for i in range(N)]
    )
    return (images + noise).astype(np.uint16)


def archive(path: Path, drop: str = "", **changes: Any) -> Path:
    """Six patients of two slices, no defect."""
    content: dict[str, Any] = {
        "image": pixels(),
        "patient": text([f"p{i // 2}" for i in range(N)]),
        "label": (np.arange(N) // 2 % 2).astype(np.uint8),
        "hospital": text(["north"] * N),
    }
    content |= changes
    content.pop(drop, None)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    return path


def text(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=h5py.string_dtype())


def findings(path: Path) -> dict[str, Any]:
    done = call("check", path, "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (1 if told["defects"] else 0)
    return told


def test_a_sound_archive_is_described_and_passes(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.h5", split=text(["train"] * 8 + ["val"] * 4))
    told = findings(path)
    assert told["defects"] == told["warnings"] == told["suspicious"] == []
    assert (told["slices"], told["patients"], told["shape"]) == (12, 6, [SIDE, SIDE])
    assert told["groups"][1] == {
        "hospital": "north",
        "split": "val",
        "patients": 2,
        "slices": 4,
        "labels": {"positive": [2, 1]},
    }
    assert told["by_patient"]["p1"] == {"slices": 2, "labels": {"positive": 2}}
    assert sum(told["histograms"]["north"]) == N * SIDE * SIDE
    assert not path.with_name("a.check.png").exists()
    words = call("check", path)
    assert words.exit_code == 0 and words.stdout.endswith("no defects\n")


@pytest.mark.parametrize(
    ("changes", "defect"),
    [
        ({"split": text(["train", "val"] * 6)}, "6 patients in two splits: p0, p1"),
        ({"hospital": text(["north"] * 11 + ["south"])}, "1 patients in two hospitals: p5"),
        ({"split": text(["dev"] * N)}, "split: train, val or test expected, dev found"),
        ({"split": text(["train"] * 3)}, r"split: 12 rows expected, shape \(3,\) found"),
        ({"drop": "label"}, "label: expected a data set 'label', got none"),
        ({"label": np.full((N, 2), 7)}, "label: expected 0 or 1, got another number"),
        ({"patient": text(["p"] * N)}, "one patient"),
    ],
)
def test_columns_that_are_wrong_are_defects(
    tmp_path: Path, changes: dict[str, Any], defect: str
) -> None:
    told = findings(archive(tmp_path / "a.h5", **changes))
    assert len(told["defects"]) == 1
    assert re.search(defect, told["defects"][0])


def test_what_the_check_calls_sound_opens_and_what_does_not_open_is_a_defect(
    tmp_path: Path,
) -> None:
    good = archive(tmp_path / "a.h5")
    assert findings(good)["defects"] == [] and len(open_dataset(f"slices:{good}")) == N
    bad = archive(tmp_path / "b.h5", image=np.full((N, 8, 8), np.nan, dtype=np.float32))
    assert len(findings(bad)["defects"]) == 6
    with pytest.raises(InputError):
        open_dataset(f"slices:{bad}")


def test_suspicious_slices_stand_on_the_contact_sheet(tmp_path: Path) -> None:
    images = pixels()
    images[1] = 0
    images[3] = np.random.default_rng(0).integers(0, 1000, (SIDE, SIDE))
    images[5] = np.where(images[5] > 400, 3000, images[5])
    drawn = Image.fromarray((images[7] // 8).astype(np.uint8))
    ImageDraw.Draw(drawn).text((2, 50), "DOE JOHN 7", fill=255)
    images[7] = np.asarray(drawn).astype(np.uint16) * 8
    images[9] = images[8]
    path = archive(tmp_path / "a.h5", image=images)
    told = findings(path)
    reasons = {one["row"]: one["reason"] for one in told["suspicious"]}
    assert reasons == {
        1: "almost empty",
        3: "noise only?",
        5: "saturated",
        7: "text drawn in?",
        8: "same slice twice (9)",
        9: "same slice twice (8)",
    }
    assert told["defects"] == []
    sheet = Path(told["sheet"])
    assert sheet == path.with_name("a.check.png") and sheet.stat().st_mode & 0o777 == 0o600
    with Image.open(sheet) as picture:
        grey = np.asarray(picture)
    # Every tile holds a picture: the tile of a slice of noise is not flat, that of zeros is black.
    assert grey.shape[1] > 6 * 160 and grey.std() > 30
    with pytest.raises(InputError, match="name another --sheet"):
        call("check", path, "--sheet", tmp_path / "none" / "x.png")


def test_a_faint_slice_of_few_values_is_empty_and_little_ringing_is_no_phase(
    tmp_path: Path,
) -> None:
    images = pixels().astype(np.float32)
    images[2] = np.random.default_rng(0).integers(0, 8, (SIDE, SIDE)) * 10
    images[6] = np.where(images[6] > 400, 1000.0, 0.0)
    images[9, 0, :8] = -5.0
    images[11] = images[11] - 300.0
    told = findings(archive(tmp_path / "a.h5", image=images))
    assert {one["row"]: one["reason"] for one in told["suspicious"]} == {
        2: "almost empty",
        6: "few grey values: a mask?",
        11: "negative values: phase?",
    }


def test_one_slice_under_two_patients_is_a_defect_whatever_its_scale(tmp_path: Path) -> None:
    images = pixels().astype(np.float32)
    images[[2, 3]] = images[[10, 11]] * 3.0
    told = findings(archive(tmp_path / "a.h5", image=images))
    assert told["defects"] == [
        "the same slice stands under several patients, 2 times: one person twice?"
    ]
    assert {one["row"] for one in told["suspicious"]} == {2, 3, 10, 11}


@pytest.mark.parametrize("content", [b"nothing", b""])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match="an HDF5 file"):
        call("check", path)
    with pytest.raises(InputError, match="a data set 'patient'"):
        call("check", archive(tmp_path / "b.h5", drop="patient"))


def table(strata: list[tuple[str, int, int]], seed: int) -> Columns:
    """Columns of (hospital, label, patients) strata, two slices a patient, shuffled."""
    rows = [(f"{h}{l}-{i}", h, l) for h, l, n in strata for i in range(n) for _ in range(2)]
    order = np.random.default_rng(seed).permutation(len(rows))
    patients, hospitals, labels = (np.array([rows[i][k] for i in order]) for k in range(3))
    multi_hot = labels[:, None].astype(np.uint8)
    split = np.full(len(rows), "")
    return Columns((8, 8), patients, hospitals, split, Labels(multi_hot, ("tear",), False), ())


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=4, max_size=4),
    ratio=st.sampled_from(["80:20", "70:15:15", "1:1", "60:20:20"]),
    seed=st.integers(0, 99),
)
def test_patients_stay_whole_and_every_stratum_is_divided_alike(
    sizes: list[int], ratio: str, seed: int
) -> None:
    strata = [("a", 0, sizes[0]), ("a", 1, sizes[1]), ("b", 0, sizes[2]), ("b", 1, sizes[3])]
    columns_ = table(strata, seed)
    shares = parse_ratio(ratio)
    split = divide_patients(columns_, shares, seed)
    of = dict(zip(columns_.patients.tolist(), split.tolist()))
    assert [of[p] for p in columns_.patients.tolist()] == split.tolist()
    total = sum(sizes)
    for name, share in zip(("train", "val", "test"), shares):
        chosen = [p for p, s in of.items() if s == name]
        assert abs(len(chosen) - share * total) <= 1.5 or total < 8
        for hospital, label, n in strata:
            here = sum(p.startswith(f"{hospital}{label}-") for p in chosen)
            assert abs(here - share * n) <= 2.0
        assert chosen or share == 0 or total < 3


def test_a_split_is_seeded_stored_once_and_opens(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.h5")
    before = columns(path)["image"]
    done = call("split", path, "--ratio", "50:50", "--seed", 3)
    assert done.exit_code == 0 and done.stdout.startswith("train: 3 patients, 6 slices")
    first = columns(path)["split"]
    with pytest.raises(InputError, match="replace it with --force"):
        call("split", path)
    call("split", path, "--ratio", "50:50", "--seed", 3, "--force")
    assert (columns(path)["split"] == first).all()
    others = []
    for seed in range(4, 9):
        call("split", path, "--ratio", "50:50", "--seed", seed, "--force")
        others.append((columns(path)["split"] != first).any())
    assert any(others)
    np.testing.assert_array_equal(columns(path)["image"], before)
    assert set(open_dataset(f"slices:{path}?split=val").table.split) == {"val"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ratio", ["100", "0:1", "1:0", "a:b", "1:1:1:1", "-1:2"])
def test_shares_that_leave_nobody_are_refused(ratio: str) -> None:
    with pytest.raises(InputError, match="--ratio"):
        parse_ratio(ratio)


def test_too_few_patients_to_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 3 to divide, got 2"):
        call("split", archive(tmp_path / "a.h5", patient=text(["a", "b"] * 6)), "--ratio", "1:1:1")
