"""`pods/proxy`, `services/proxy`, `nodes/proxy`: to whom a request is led. The rest is `api.streaming.proxying`'s.

Sources: kube-apiserver's `pkg/registry/core/{pod,service,node}` (`ResourceLocation`) for ports and words.
"""

from __future__ import annotations

import random
from typing import Final

from cloudcore.api.call import Backend, Call, Proxied, Reply
from cloudcore.api.proxied import Named, named
from cloudcore.api.writing import parse
from cloudcore.registry.refusals import not_found
from skerry.errors import BadRequestError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject, bool_at, encode_object, int_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, labels_of, name_of, uid_of
from skerry.objects.pod_streams import FORWARD, NODE_PROXY, Forward, Whose

_PODS: Final = "pods"
_SLICES: Final = "endpointslices.discovery.k8s.io"
_SERVICE_NAME: Final = "kubernetes.io/service-name"
KUBELET_PORT: Final = 10250


async def proxy(call: Call) -> Reply:
    """Every method. Raises `NotFoundError`, `BadRequestError`, `UnavailableError`."""
    asked = named(call.target.name)
    match call.target.plural:
        case "pods":
            backends = [_pod_backend(call, asked)]
        case "services":
            backends = _service_backends(call, asked)
        case _:
            backends = [_node_backend(call, asked)]
    return Proxied(backends=tuple(backends), path=call.target.rest)


def _read(call: Call, name: str) -> JsonObject:
    stored = call.parts.objects.read(call.kind.key(call.target.namespace, name))
    if stored is None:
        raise not_found(call.kind, name)
    return parse(stored.body)


def _pod_backend(call: Call, asked: Named) -> Backend:
    pod, tls = _read(call, asked.name), asked.scheme == "https"
    return _backend(call, pod, _port_in(pod, asked.port, https=tls), tls=tls)


def _port_in(pod: JsonObject, text: str, *, https: bool) -> int:
    """A number, a name, or the first that a container says that it has."""
    ports = [each for one in maps_at(pod, "spec", "containers") for each in maps_at(one, "ports")]
    if not text:
        return int_at(ports[0], "containerPort") if ports else 443 if https else 80
    if text.isdecimal() and 1 <= int(text) <= 65_535:
        return int(text)
    for each in ports:
        if str_at(each, "name") == text:
            return int_at(each, "containerPort")
    raise BadRequestError(f"pod {name_of(pod)} has no port {text!r}")


def _backend(call: Call, pod: JsonObject, port: int, *, tls: bool) -> Backend:
    node = str_at(pod, "spec", "nodeName")
    if not node:
        raise UnavailableError(f"pod {name_of(pod)} does not have a host assigned")
    whose = Whose(namespace=call.target.namespace, pod=name_of(pod), uid=uid_of(pod), by=call.actor.name)
    params = encode_object(Forward(whose=whose, port=port).params())
    host = f"{str_at(pod, 'status', 'podIP') or name_of(pod)}:{port}"
    return Backend(node=node, kind=FORWARD, params=params, host=host, tls=tls)


def _service_backends(call: Call, asked: Named) -> list[Backend]:
    """The ready ones behind the port, in any order: the first that can be reached is taken."""
    service = _read(call, asked.name)
    wanted = _service_port(service, asked.port)
    none = UnavailableError(f'no endpoints available for service "{call.target.name}"')
    found: list[Backend] = []
    for item in call.parts.cache.select(_SLICES, namespace=call.target.namespace):
        slice_ = parse(item.body)
        if wanted is None or labels_of(slice_).get(_SERVICE_NAME) != asked.name:
            continue
        ports = [int_at(each, "port") for each in maps_at(slice_, "ports") if str_at(each, "name") == wanted]
        for endpoint in maps_at(slice_, "endpoints") if ports else ():
            pod = _pod_behind(call, endpoint)
            if pod is not None:
                found.append(
                    replace(
                        _backend(call, pod, ports[0], tls=asked.scheme == "https"), host=_host(endpoint, ports[0])
                    )
                )
    if not found:
        raise none
    random.shuffle(found)
    return found


def _service_port(service: JsonObject, text: str) -> str | None:
    """The name of the port that is meant; None where there is none. A number is one of the service's."""
    ports = maps_at(service, "spec", "ports")
    if not text:
        return str_at(ports[0], "name") if len(ports) == 1 else ""
    for each in ports:
        if text in (str(int_at(each, "port")), str_at(each, "name")):
            return str_at(each, "name")
    return None


def _pod_behind(call: Call, endpoint: JsonObject) -> JsonObject | None:
    ready: Json = endpoint.get("conditions")
    if isinstance(ready, dict) and "ready" in ready and not bool_at(ready, "ready"):
        return None
    name = str_at(endpoint, "targetRef", "name")
    if str_at(endpoint, "targetRef", "kind") != "Pod" or not name:
        return None
    stored = call.parts.objects.read(Key(_PODS, call.target.namespace, name))
    return None if stored is None else parse(stored.body)


def _host(endpoint: JsonObject, port: int) -> str:
    return f"{next(iter(strs_at(endpoint, 'addresses')), '')}:{port}"


def _node_backend(call: Call, asked: Named) -> Backend:
    """A kubelet's own paths, which the gateway answers in its session: no port of it is open."""
    node = _read(call, asked.name)
    if asked.port not in ("", str(KUBELET_PORT)):
        raise BadRequestError(
            f"port {asked.port} of node {asked.name} is not proxied: its agent answers as a kubelet at {KUBELET_PORT}"
        )
    if asked.scheme == "http":
        raise BadRequestError(f"a kubelet speaks https: write https:{asked.name}:{KUBELET_PORT}, or {asked.name}")
    params = encode_object({"by": call.actor.name})
    return Backend(node=name_of(node), kind=NODE_PROXY, params=params, host=f"{name_of(node)}:{KUBELET_PORT}")
