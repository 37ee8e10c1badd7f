"""Who has objects written by a controller must be allowed what it does for him."""

from __future__ import annotations

from skerry.authz.delegation import RBAC_GROUP, needed

WRITES = ["create", "update", "delete"]


def test_what_gives_no_rights_away_needs_what_it_is() -> None:
    assert needed("apps", "deployments") == tuple((verb, "deployments") for verb in WRITES)


def test_roles_and_bindings_need_to_be_given_away() -> None:
    assert needed(RBAC_GROUP, "clusterroles")[3:] == (("escalate", "clusterroles"),)
    assert needed(RBAC_GROUP, "rolebindings")[3:] == (("bind", "roles"), ("bind", "clusterroles"))
