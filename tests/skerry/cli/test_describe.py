"""What `skerry describe` prints of an object."""

from __future__ import annotations

from skerry.cli.describe import lines_of


def test_fields_have_titles_and_keys_that_people_chose_stay_as_they_are() -> None:
    obj = {
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"nodeSelector": {"topology.kubernetes.io/region": "eu"}, "selector": {"matchLabels": {"app": "a"}}},
    }
    text = "\n".join(lines_of(obj, "Pod"))  # pyright: ignore[reportArgumentType]
    assert "NodeSelector:\n    topology.kubernetes.io/region: eu" in text
    assert "MatchLabels:\n      app:" in text


def test_values_of_secrets_are_not_shown() -> None:
    text = "\n".join(lines_of({"metadata": {"name": "s"}, "data": {"password": "aGVsbG8="}}, "Secret"))
    assert "aGVsbG8=" not in text
    assert "password:" in text
