"""InfluxDB's line protocol."""

from __future__ import annotations

from skerry.objects.line_protocol import point, quoted


def test_names_tags_and_texts_each_have_their_signs() -> None:
    tags = {"path": "C:\\temp", "end": "a\\", "a=b": "c, d\n", "none": ""}
    line = point("m, =\\", tags, {"a b": quoted('say "\\"'), "n": "1.5"}, at_ms=12, number=2_000_034)
    assert line == ('m\\,\\ =_,path=C:\\temp,end=a_,a\\=b=c\\,\\ d\\  a\\ b="say \\"\\\\\\"",n=1.5 12000034')
