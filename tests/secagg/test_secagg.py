"""Secure aggregation: the very sum of the plain mean, and nothing that says a summand."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_server.aggregation.mean import WeightedMean
from infomri_core.secagg import Collector, Participant, shamir
from infomri_core.secagg.ring import mean_from_ring, to_ring
from infomri_core.system.errors import Refused

CONTEXT = b"plan, round 1"


@cache
def node_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@dataclass
class Round:
    """Sites that have shared; ``inbox[site]`` is what the others sent it."""

    sites: dict[str, Participant]
    inbox: dict[str, dict[str, bytes]]
    threshold: int
    degree: int

    def collector(self, n: int, sharing: Iterable[str]) -> Collector:
        announced = [site.announcement for site in self.sites.values()]
        return Collector(n, CONTEXT, self.threshold, announced, sharing, self.degree)


def participants(names: Sequence[str], degree: int = 40) -> dict[str, Participant]:
    trusted = {name: node_key(name).public_key() for name in names}
    return {name: Participant(name, CONTEXT, node_key(name), trusted, degree) for name in names}


def shared(names: Sequence[str], threshold: int, degree: int = 40, silent: str = "") -> Round:
    """A round after step 2, in which the sites of ``silent`` announced and were heard no more."""
    sites = participants(names, degree)
    announced = [site.announcement for site in sites.values()]
    inbox: dict[str, dict[str, bytes]] = {name: {} for name in names}
    for name in set(names) - set(silent):
        for recipient, data in sites[name].share(announced, threshold).items():
            inbox[recipient][name] = data
    return Round(sites, inbox, threshold, degree)


def secure_sum(
    made: Round,
    vectors: dict[str, np.ndarray],
    silent: str = "",
    dropped: str = "",
    late: str = "",
) -> np.ndarray:
    """Steps 3 and 4. ``dropped`` sites shared and delivered nothing, ``late`` ones delivered and
    then gave no shares."""
    sharing = set(made.sites) - set(silent)
    centre = made.collector(len(next(iter(vectors.values()))), sharing)
    for name in sorted(sharing - set(dropped)):
        centre.add(name, made.sites[name].mask(vectors[name], made.inbox[name]))
    answering = [name for name in centre.delivered if name not in late]
    return centre.total({n: made.sites[n].unmask(centre.delivered) for n in answering})


def updates(names: str, n: int = 300) -> dict[str, tuple[np.ndarray, int]]:
    draws = generator(len(names))
    return {
        name: (draws.normal(size=n).astype(np.float32), 10 + i) for i, name in enumerate(names)
    }


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([("", "", ""), ("a", "", ""), ("", "b", ""), ("", "", "c"), ("d", "e", "")]),
)
@settings(deadline=None, max_examples=12)
def test_the_secure_mean_is_the_plain_mean_bit_for_bit(
    seed: int, faults: tuple[str, str, str]
) -> None:
    silent, dropped, late = faults
    draws = generator(seed)
    names = "abcde"
    weights = {
        n: (draws.normal(size=70).astype(np.float32), int(draws.integers(1, 999))) for n in names
    }
    vectors = {name: to_ring(*pair) for name, pair in weights.items()}
    made = shared(names, 3, silent=silent)
    mean, n_samples = mean_from_ring(secure_sum(made, vectors, silent, dropped, late))
    plain = WeightedMean(70)
    for name in set(names) - set(silent) - set(dropped):
        plain.add(*weights[name])
    assert mean.tobytes() == plain.value().tobytes()
    assert n_samples == plain.n_samples


def test_a_sparse_ring_survives_dropouts_too() -> None:
    names = "abcdefghi"
    weights = updates(names)
    vectors = {name: to_ring(*pair) for name, pair in weights.items()}
    total = secure_sum(shared(names, 3, degree=4), vectors, dropped="c", late="g")
    expected = sum(vector for name, vector in vectors.items() if name != "c")
    np.testing.assert_array_equal(total, expected)


def test_the_error_is_below_a_ten_thousandth_of_the_updates_norm() -> None:
    draws = generator(7)
    start = (0.05 * draws.normal(size=4000)).astype(np.float32)
    weights = {n: start + (1e-3 * draws.normal(size=4000)).astype(np.float32) for n in "abc"}
    vectors = {name: to_ring(flat, 31) for name, flat in weights.items()}
    mean, _ = mean_from_ring(secure_sum(shared("abc", 2), vectors))
    exact = np.mean([flat.astype(np.float64) for flat in weights.values()], axis=0)
    assert np.linalg.norm(mean - exact) < 1e-4 * np.linalg.norm(exact - start)


def test_what_a_site_sends_is_uniform_whatever_it_holds() -> None:
    made = shared("abc", 2)
    sent = [made.sites[n].mask(np.zeros(20_000, np.uint64), made.inbox[n]) for n in "abc"]
    for vector in [*sent, sent[0] + sent[1], sent[0] + sent[1] + sent[2]]:
        bits = np.unpackbits(vector.view(np.uint8))
        assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_masks_are_new_in_every_round() -> None:
    sent = []
    for _ in range(2):
        made = shared("abc", 2)
        sent.append(made.sites["a"].mask(np.zeros(64, np.uint64), made.inbox["a"]))
    assert not (sent[0] == sent[1]).any()


def test_a_key_that_the_centre_swapped_is_refused() -> None:
    sites = participants("abc")
    own = Participant("b", CONTEXT, node_key("centre"), {"b": node_key("centre").public_key()})
    swapped = [sites["a"].announcement, own.announcement, sites["c"].announcement]
    mixed = replace(sites["b"].announcement, mask_key=own.announcement.mask_key)
    for announced in (swapped, [sites["a"].announcement, mixed, sites["c"].announcement]):
        with pytest.raises(Refused, match="not its site's own"):
            sites["a"].share(announced, 2)


def test_an_announcement_of_another_round_is_refused() -> None:
    trusted = {name: node_key(name).public_key() for name in "abc"}
    old = Participant("b", b"plan, round 0", node_key("b"), trusted).announcement
    sites = participants("abc")
    with pytest.raises(Refused, match="not its site's own"):
        sites["a"].share([sites["a"].announcement, old, sites["c"].announcement], 2)


@pytest.mark.parametrize("announced", ["ab", "abcd", "aabc", "bc"])
def test_a_list_of_sites_that_is_not_right_is_refused(announced: str) -> None:
    sites, others = participants("abc"), participants("abcd")
    known = {**others, **sites}
    with pytest.raises(Refused):
        sites["a"].share([known[name].announcement for name in announced], 3)


@pytest.mark.parametrize("threshold", [1, 2, 6])
def test_a_threshold_that_protects_nothing_is_refused(threshold: int) -> None:
    with pytest.raises(Refused):
        shared("abcde", threshold)


def test_shares_altered_on_the_way_are_refused() -> None:
    made = shared("abc", 2)
    inbox = made.inbox["a"]
    flipped = bytes([inbox["b"][0] ^ 1]) + inbox["b"][1:]
    for bad in ({**inbox, "b": flipped}, {**inbox, "b": inbox["c"]}, {**inbox, "z": b""}):
        with pytest.raises(Refused):
            made.sites["a"].mask(np.zeros(3, np.uint64), bad)


def test_no_site_gives_both_secrets_of_another() -> None:
    made = shared("abcde", 3)
    for name, site in made.sites.items():
        site.mask(np.zeros(3, np.uint64), made.inbox[name])
    for site in made.sites.values():
        answer = site.unmask("abcd" if site.name != "e" else "abce")
        assert not set(answer.seeds) & set(answer.mask_keys)
        with pytest.raises(Refused, match="taken again"):
            site.unmask("abcde")


def test_nothing_is_unmasked_for_fewer_than_the_threshold() -> None:
    made = shared("abcde", 3)
    for name, site in made.sites.items():
        site.mask(np.zeros(3, np.uint64), made.inbox[name])
    with pytest.raises(Refused, match="too few"):
        made.sites["a"].unmask("ab")
    with pytest.raises(Refused, match="missing"):
        made.sites["a"].unmask("bcde")


def test_too_few_survivors_give_no_sum() -> None:
    vectors = {name: to_ring(*pair) for name, pair in updates("abcde").items()}
    with pytest.raises(Refused, match="2 of 3 needed"):
        secure_sum(shared("abcde", 3), vectors, late="abc")


def test_the_centre_takes_each_vector_once_and_no_strangers() -> None:
    made = shared("abc", 2)
    centre = made.collector(3, "ab")
    vector = made.sites["a"].mask(np.zeros(3, np.uint64), {"b": made.inbox["a"]["b"]})
    centre.add("a", vector)
    for name, bad in (("a", vector), ("c", vector), ("b", vector[:2]), ("b", vector.view(float))):
        with pytest.raises(Refused, match="not asked for"):
            centre.add(name, bad)


def test_false_shares_are_noticed() -> None:
    made = shared("abc", 2)
    centre = made.collector(3, "abc")
    for name in "ab":
        centre.add(name, made.sites[name].mask(np.zeros(3, np.uint64), made.inbox[name]))
    answers = {name: made.sites[name].unmask("ab") for name in "ab"}
    swapped = {**answers["b"].mask_keys, "c": answers["b"].seeds["a"]}
    with pytest.raises(Refused, match="shares of c"):
        centre.total({**answers, "b": replace(answers["b"], mask_keys=swapped)})


@given(st.binary(min_size=32, max_size=32), st.integers(1, 6), st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_any_threshold_of_shares_give_the_secret_and_fewer_do_not(
    secret: bytes, threshold: int, more: int
) -> None:
    n = threshold + more
    shares = shamir.split(secret, n, threshold, generator(threshold).bytes)
    for points in itertools.combinations(range(1, n + 1), threshold):
        assert shamir.join({p: shares[p - 1] for p in points}) == secret
    if threshold > 1:
        with pytest.raises(ValueError, match="too few"):
            shamir.join({p: shares[p - 1] for p in range(1, threshold)})


@pytest.mark.parametrize(
    ("flat", "n_samples"), [([np.nan], 3), ([np.inf], 3), ([1.0], 0), ([1e9], 1000)]
)
def test_what_has_no_place_in_the_ring_is_refused(flat: list[float], n_samples: int) -> None:
    with pytest.raises(ValueError, match="finite weights"):
        to_ring(np.array(flat, np.float32), n_samples)


def test_a_site_that_was_asked_something_else_spoils_the_sum_and_tells_nothing() -> None:
    made, zero = shared("abc", 2), np.zeros(500, np.uint64)
    centre = made.collector(500, "abc")
    for name, site in made.sites.items():
        binding = b"other weights" if name == "c" else b""
        centre.add(name, site.mask(zero, made.inbox[name], binding))
    total = centre.total({n: site.unmask("abc") for n, site in made.sites.items()})
    bits = np.unpackbits(total.view(np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_no_sum_of_fewer_sites_than_the_plan_wants_is_unmasked() -> None:
    sites = participants("abcd")
    announced = [site.announcement for site in sites.values()]
    posted = {name: site.share(announced, 3, fewest=4) for name, site in sites.items()}
    inbox = {sender: box["a"] for sender, box in posted.items() if sender != "a"}
    sites["a"].mask(np.zeros(3, np.uint64), inbox)
    with pytest.raises(Refused, match="too few"):
        sites["a"].unmask("abc")
    assert set(sites["a"].unmask("abcd").seeds) == set("abcd")


def test_the_centre_knows_when_it_can_unmask() -> None:
    made = shared("abcd", 3)
    centre = made.collector(3, "abcd")
    for name in "abc":
        centre.add(name, made.sites[name].mask(np.zeros(3, np.uint64), made.inbox[name]))
    answers = {name: made.sites[name].unmask("abc") for name in "abc"}
    assert not centre.enough({name: answers[name] for name in "ab"})
    assert centre.enough(answers)
    np.testing.assert_array_equal(centre.total(answers), np.zeros(3, np.uint64))
