"""The shape of Skerry's own kind Command (`skerry.dev/v1`), as OpenAPI definitions. Keeps no data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    conditions,
    free,
    int64,
    obj,
    string,
    strings,
    strings_list,
)
from skerry.objects.json import JsonObject

PREFIX: Final = "dev.skerry.v1."
_PARTS: Final = GroupParts(prefix=PREFIX, group="skerry.dev", version="v1")


def command_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return {
        PREFIX + "Command": _PARTS.kind(
            "Command",
            "Something that a gateway is asked to do: begun at most once, not after its deadline, with a result.",
            spec=_PARTS.ref("CommandSpec", "What is asked. Only cancel can be changed later."),
            status=_PARTS.ref("CommandStatus", "What became of it."),
        ),
        PREFIX + "CommandList": _PARTS.list_kind("Command"),
        PREFIX + "CommandSpec": _spec(),
        PREFIX + "CommandAction": obj(
            "What is to be done: one of these.",
            deviceMethod=_PARTS.ref("DeviceMethodAction", "Call a method of a device."),
            deviceRefresh=_PARTS.ref("DeviceRefreshAction", "Read a device now."),
            podRestart=_PARTS.ref("PodRestartAction", "End a pod's containers and let them start again."),
            imagePull=_PARTS.ref("ImagePullAction", "Fetch an image now."),
        ),
        PREFIX + "DeviceMethodAction": obj(
            "A call of a method that the Device lists in spec.methods.",
            device=string("Name of the Device, in the command's namespace."),
            method=string("Name of the method."),
            parameters=strings(
                "Values, as text, for properties of the method. They are written in the method's order, each once; "
                "the method's other properties are read afterwards."
            ),
        ),
        PREFIX + "DeviceRefreshAction": obj(
            "A reading of a device's properties out of turn.",
            device=string("Name of the Device, in the command's namespace."),
            properties=strings_list("Which properties; all where none is named."),
        ),
        PREFIX + "PodRestartAction": obj(
            "A restart of containers in place; the pod stays.",
            pod=string("Name of the Pod, in the command's namespace."),
            container=string("Which container; all where none is named."),
        ),
        PREFIX + "ImagePullAction": obj("An image to fetch.", image=string("Name of the image.")),
        PREFIX + "CommandIssue": obj(
            "What the server knew when the command was given.",
            time=string("When, by the server's clock: RFC 3339. The deadline counts from it."),
            by=string("Who gave it."),
            epoch=string("The life of the cloud's store in which it was given."),
            incarnation=string("The life of the gateway's store that may begin it."),
            targetUID=string("The life of the device or pod that is meant."),
        ),
        PREFIX + "CommandGateway": obj(
            "The gateway that told this.", incarnation=string("The life of its store that told it.")
        ),
        PREFIX + "CommandStatus": _status(),
    }


def _spec() -> JsonObject:
    return obj(
        "What is asked of a gateway.",
        nodeName=string("The node whose gateway is asked; found from the device or pod where it is left out."),
        action=_PARTS.ref("CommandAction", "What is to be done."),
        expiresAfterSeconds=int64(
            "Seconds after its creation from which on it is not begun any more; 3600 where left out."
        ),
        timeoutSeconds=int64("Seconds that it may take once it was begun; 60 where left out."),
        ttlSecondsAfterFinished=int64("Seconds after its end until the object is deleted; 86400 where left out."),
        cancel=boolean("Don't begin it any more, or stop before its next step."),
        issued=_PARTS.ref("CommandIssue", "Written by the server when it is created."),
    )


def _status() -> JsonObject:
    return obj(
        "What became of a command.",
        phase=string(
            "How far it came.",
            "Pending",
            "Delivered",
            "Running",
            "Succeeded",
            "Failed",
            "Expired",
            "Rejected",
            "Cancelled",
            "Unknown",
        ),
        reason=string("Why, in one word."),
        message=string("Why, for people."),
        result=free("What it brought, as its action says."),
        conditions=conditions("Complete (it succeeded), Failed (any other end), Finished (any end)."),
        offeredTime=string("From when on the gateway may have been told of it."),
        deliveredTime=string("When the gateway had written it down."),
        startedTime=string("When it was begun."),
        finishedTime=string("When it ended."),
        gateway=_PARTS.ref("CommandGateway", "Who told this."),
    )
