"""What is said of an object beside its body: the revision, which is in the body only for who reads it."""

from __future__ import annotations

import json

from cloudcore.store.port import with_revision, without_revision
from skerry.objects.meta import Revision


def test_the_revision_is_spliced_into_any_metadata_and_out_again() -> None:
    for plain in (b'{"metadata":{}}', b'{"metadata":{"name":"a"},"spec":{}}'):
        stamped = with_revision(plain, Revision(7))
        assert json.loads(stamped)["metadata"]["resourceVersion"] == "7"
        assert without_revision(stamped) == plain
