"""View hashes find every difference, wherever both ends look at it from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.objects.meta import Key, Revision, Stamp
from skerry.sync.hashes import BUCKETS, bucket_hashes, bucket_of, root_of

NAME = st.text("abc-.", min_size=1, max_size=6)
KEYS = st.builds(Key, st.sampled_from(["pods", "configmaps"]), NAME, NAME)
VIEWS = st.dictionaries(KEYS, st.builds(Stamp, NAME, st.integers(0, 99).map(Revision)), max_size=12)


@given(VIEWS)
def test_order_does_not_matter(view: dict[Key, Stamp]) -> None:
    assert bucket_hashes(view.items()) == bucket_hashes(reversed(view.items()))


@given(VIEWS, VIEWS)
def test_views_that_differ_differ_in_the_buckets_of_what_differs(
    one: dict[Key, Stamp], two: dict[Key, Stamp]
) -> None:
    ours, theirs = bucket_hashes(one.items()), bucket_hashes(two.items())
    differing = {bucket_of(key) for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
    assert {number for number in range(BUCKETS) if ours[number] != theirs[number]} == differing
    assert (root_of(ours) == root_of(theirs)) == (one == two)


def test_the_hash_is_part_of_the_protocol_and_never_changes() -> None:
    key = Key("pods", "default", "web")
    buckets = bucket_hashes([(key, Stamp("uid-1", Revision(7)))])
    assert bucket_of(key) == 46
    assert (buckets[46], root_of(buckets)) == (GOLDEN_BUCKET, GOLDEN_ROOT)
    assert bucket_hashes([]) == (0,) * 64


GOLDEN_BUCKET = 0x145CFE9A46D84E85
GOLDEN_ROOT = 0x2477675C8755904A
