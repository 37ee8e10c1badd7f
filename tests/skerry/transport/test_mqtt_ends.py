"""A client of paho-mqtt that has ended holds nothing open."""

from __future__ import annotations

import gc
import warnings

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from skerry.transport.mqtt_ends import end


def test_what_a_thread_was_woken_by_is_closed() -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.user_data_set([client])  # as callbacks know who is behind them: for the collector alone
    client.loop_start()
    client.disconnect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        end(client)
        del client
        gc.collect()
