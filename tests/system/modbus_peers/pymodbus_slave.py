"""A slave on pymodbus, for framings that the other peers lack: register n holds 1000 + n.

python pymodbus_slave.py FRAMER PORT [CERTIFICATE KEY CA]      FRAMER: rtu, ascii, tls
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from pymodbus import FramerType
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice


async def main(framer: str, port: int, files: list[str]) -> None:
    words = SimData(0, values=[1000 + at for at in range(300)], datatype=DataType.REGISTERS)
    memory, address = SimDevice(1, [words]), ("127.0.0.1", port)
    identity = ModbusDeviceIdentification(info_name={"VendorName": "Peer", "ProductCode": "P1", "ModelName": "Model"})
    if framer == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files[2])
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(files[0], files[1])
        server = ModbusTlsServer(memory, address=address, sslctx=context, identity=identity)
    else:
        server = ModbusTcpServer(memory, address=address, framer=FramerType(framer), identity=identity)
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
