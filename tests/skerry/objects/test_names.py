"""Names: the rules and their words."""

import pytest

from skerry.objects import names

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
NAME_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (names.subdomain_faults, ["a", "a.b-c.d", "0", "a" * 253]),
        (names.label_1123_faults, ["a", "0-b", "a" * 63]),
        (names.label_1035_faults, ["a", "a-0"]),
        (names.qualified_name_faults, ["A_b.c", "example.com/Name", "x"]),
        (names.label_value_faults, ["", "A_b.c-1", "x" * 63]),
        (names.config_key_faults, ["a.b", ".hidden", "A_B-c", "a..b"]),
        (names.finalizer_faults, ["kubernetes", "orphan", "foregroundDeletion", "example.com/x"]),
        (names.port_name_faults, ["http", "a-1"]),
    ],
)
def test_good_names_have_no_faults(check, good):
    assert [name for name in good if check(name)] == []


@pytest.mark.parametrize(
    ("check", "bad", "expected"),
    [
        (names.subdomain_faults, "A_b", [SUBDOMAIN_TEXT]),
        (names.subdomain_faults, "a\n", [SUBDOMAIN_TEXT]),
        (names.subdomain_faults, "a" * 254, ["must be no more than 253 characters"]),
        (names.label_1123_faults, "a.b", ["must not contain dots"]),
        (names.qualified_name_faults, "", ["name part must be non-empty", "name part " + NAME_TEXT]),
        (names.qualified_name_faults, "/x", ["prefix part must be non-empty"]),
        (names.qualified_name_faults, "A/x", ["prefix part " + SUBDOMAIN_TEXT]),
        (
            names.qualified_name_faults,
            "a/b/c",
            [
                "a valid label key "
                + NAME_TEXT
                + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ],
        ),
        (names.config_key_faults, "..", ["must not be '..'"]),
        (names.config_key_faults, "..a", ["must not start with '..'"]),
        (names.finalizer_faults, "mine", ["name is neither a standard finalizer name nor is it fully qualified"]),
        (
            names.port_name_faults,
            "--1",
            [
                "must contain at least one letter (a-z)",
                "must not contain consecutive hyphens",
                "must not begin or end with a hyphen",
            ],
        ),
    ],
)
def test_bad_names_are_refused_in_apimachinerys_words(check, bad, expected):
    assert check(bad) == expected


@pytest.mark.parametrize("bad", ["0a", "a.b", "a-", ""])
def test_a_service_name_starts_with_a_letter(bad):
    assert names.label_1035_faults(bad)


@pytest.mark.parametrize("bad", ["-a", "a ", "x" * 64])
def test_bad_label_values_are_refused(bad):
    assert names.label_value_faults(bad)


@pytest.mark.parametrize(
    "key",
    ["site", "example.com/site", "kubernetes.io/hostname", "kubelet.kubernetes.io/a", "x.node.kubernetes.io/a"],
)
def test_a_node_may_give_itself_what_says_where_and_what_it_is(key: str) -> None:
    assert names.node_may_label(key)


@pytest.mark.parametrize(
    "key",
    [
        "node-restriction.kubernetes.io/vault",
        "x.node-restriction.kubernetes.io/vault",
        "node-role.kubernetes.io/control-plane",
        "kubernetes.io/anything",
        "k8s.io/anything",
        "x.k8s.io/anything",
    ],
)
def test_a_node_may_not_give_itself_what_steers_workloads(key: str) -> None:
    assert not names.node_may_label(key)
