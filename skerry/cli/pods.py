"""Which pod and which of its containers a word on the command line means, and what a shell may complete it to.

As kubectl: `web-1`, `pod/web-1`, or what pods belong to (`deployment/web`, `service/web`), of which the first that is
ready is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click
from click.shell_completion import CompletionItem

from skerry.cli import kinds
from skerry.cli.client import Server, path_of
from skerry.cli.output import say
from skerry.cli.target import Target
from skerry.errors import BadRequestError, NotFoundError, SkerryError
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, name_of
from skerry.objects.scheme import Kind

POD: Final = Kind(group="", version="v1", kind="Pod", plural="pods", namespaced=True)
_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
_POD_WORDS: Final = ("pod", "pods", "po")
_FIELDS: Final = ("containers", "initContainers", "ephemeralContainers")


def find_pod(client: Server, place: str, word: str) -> JsonObject:
    """The pod that a word means. Raises `NotFoundError`."""
    kind_word, slash, name = word.partition("/")
    if not slash or kind_word in _POD_WORDS:
        return client.request("GET", path_of(POD, place, name if slash else word)).obj
    return pod_of(client, place, client.request("GET", path_of(kinds.resolve(client, kind_word), place, name)).obj)


def pod_of(client: Server, place: str, obj: JsonObject) -> JsonObject:
    """The first pod of what selects pods: one that is ready before one that runs, before all others."""
    wanted = selector_of(obj)
    what = f"{str_at(obj, 'kind').lower()}/{name_of(obj)}"
    if not wanted:
        raise BadRequestError(f"{what} has no pods of its own: name a pod")
    found = maps_at(client.request("GET", path_of(POD, place), query={"labelSelector": wanted}).obj, "items")
    if not found:
        raise NotFoundError(f"{what} has no pods")
    return min(found, key=lambda pod: (not is_true(pod, "Ready"), str_at(pod, "status", "phase") != "Running"))


def selector_of(obj: JsonObject) -> str:
    """As a query has it: of a Service, or of what has a pod template."""
    selector = map_at(obj, "spec", "selector")
    labels = str_map_at(selector, "matchLabels")
    if not labels and "matchExpressions" not in selector:
        labels = str_map_at(obj, "spec", "selector")
    terms = [f"{name}={value}" for name, value in labels.items()]
    for each in maps_at(selector, "matchExpressions"):
        key, values = str_at(each, "key"), each.get("values")
        listed = ",".join(str(value) for value in values) if isinstance(values, list) else ""
        match str_at(each, "operator"):
            case "In":
                terms.append(f"{key} in ({listed})")
            case "NotIn":
                terms.append(f"{key} notin ({listed})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return ",".join(terms)


def containers_of(pod: JsonObject) -> list[str]:
    """All of them, those that run as long as it does first."""
    return [str_at(one, "name") for field in _FIELDS for one in maps_at(pod, "spec", field)]


def container_in(pod: JsonObject, asked: str, *, quiet: bool) -> str:
    """The one asked for, or the one that is taken where none is, which is said. Raises `BadRequestError`."""
    if asked:
        if asked not in containers_of(pod):
            there = ", ".join(containers_of(pod))
            raise BadRequestError(f'pod "{name_of(pod)}" has no container "{asked}" (it has: {there})')
        return asked
    names = [str_at(one, "name") for one in maps_at(pod, "spec", "containers")]
    named = annotations_of(pod).get(_DEFAULT_CONTAINER, "")
    taken = named if named in names else names[0] if names else ""
    if len(names) > 1 and taken != named and not quiet:
        say(f'Defaulted container "{taken}" out of: {", ".join(containers_of(pod))}', err=True)
    return taken


# --- completion ---------------------------------------------------------------------------------------------------

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_pods(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pods in the namespace that was given by now."""
    prefix = incomplete[: incomplete.index("/") + 1] if "/" in incomplete else ""
    if prefix and prefix[:-1] not in _POD_WORDS:
        return []
    return [
        CompletionItem(prefix + name_of(pod), help=str_at(pod, "status", "phase"))
        for pod in _asked(ctx, "")
        if name_of(pod).startswith(incomplete[len(prefix) :])
    ]


def complete_containers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the containers of the pod that was given by now, or of any pod."""
    word = ctx.params.get("pod")
    found = _asked(ctx, word if isinstance(word, str) else "")
    names = dict.fromkeys(name for pod in found for name in containers_of(pod))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _asked(ctx: click.Context, word: str) -> list[JsonObject]:
    """Nothing where it can't be asked for: a shell that completes is no place for errors."""
    given = ctx.params.get("namespace")
    try:
        client = (ctx.find_object(Target) or Target()).client()
        place = given if isinstance(given, str) and given else client.namespace
        if word:
            return [find_pod(client, place, word)]
        return maps_at(client.request("GET", path_of(POD, place)).obj, "items")
    except SkerryError:
        return []
