"""A weather mast on MQTT: temperature, humidity and wind that look like a day outside, each reading numbered.

    python sensor.py --port 1883 --topic site/us-1/mast --period 0.5 [--count N] [--first N]

Each reading is one JSON message, QoS 1: {"n": 17, "at": 1750000000.123, "temperature": 14.2, "humidity": 71,
"wind": 3.8}. `n` is dense, so that a reader can tell whether one is missing or came twice. With --count it stops
after so many, once the broker has them all, and prints the last number. On SIGTERM it does the same.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


def reading(number: int, at_s: float, chance: random.Random) -> dict[str, float]:
    """What the mast measures at that time."""
    day = 2 * math.pi * ((at_s % 86_400) / 86_400 - 0.25)
    temperature = 14 + 6 * math.sin(day) + chance.gauss(0, 0.08)
    return {
        "n": number,
        "at": round(at_s, 3),
        "temperature": round(temperature, 2),
        "humidity": max(20, min(100, round(75 - 2.2 * (temperature - 14) + chance.gauss(0, 0.6)))),
        "wind": round(max(0.0, 4 + 1.5 * math.sin(day * 3) + chance.gauss(0, 0.5)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish numbered readings of a weather mast.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username", default="")
    parser.add_argument("--password-file", type=Path, help="a file whose only content is the password")
    parser.add_argument("--topic", default="site/mast")
    parser.add_argument("--period", type=float, default=0.5, help="seconds between readings")
    parser.add_argument("--count", type=int, default=0, help="stop after so many; 0: never")
    parser.add_argument("--first", type=int, default=1, help="number of the first reading")
    given = parser.parse_args()

    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"mast-{given.topic.replace('/', '-')}")
    if given.username:
        password = given.password_file.read_text().strip() if given.password_file else None
        client.username_pw_set(given.username, password)
    client.max_queued_messages_set(0)
    client.will_set(f"{given.topic}/state", "offline", qos=1, retain=True)
    connected = threading.Event()

    def on_connect(client: mqtt.Client, *_: object) -> None:
        client.publish(f"{given.topic}/state", "online", qos=1, retain=True)
        connected.set()

    client.on_connect = on_connect
    client.connect_async(given.host, given.port)
    client.loop_start()
    # paho may send what was given to it before the connection after what is given to it then.
    while not connected.wait(0.1) and not stopped.is_set():
        pass

    chance = random.Random(given.first)
    number, begun, last = given.first, time.monotonic(), None
    while not stopped.is_set() and not (given.count and number >= given.first + given.count):
        last = client.publish(given.topic, json.dumps(reading(number, time.time(), chance)), qos=1)
        number += 1
        stopped.wait(max(0.0, begun + (number - given.first) * given.period - time.monotonic()))
    if last is not None:
        last.wait_for_publish(30)
    if client.is_connected():
        client.publish(f"{given.topic}/state", "offline", qos=1, retain=True).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
    print(number - 1)


if __name__ == "__main__":
    main()
