// A slave on npm's modbus-serial: register n of both tables holds 1000 + n, coil n is n % 3 == 0.
//   usage: node serial_slave.js rtu PATH BAUD UNIT
//          node serial_slave.js tcp PORT UNIT
"use strict";
const { ServerTCP, ServerSerial } = require("modbus-serial");

const written = new Map();
const memory = {
  getInputRegister: (at) => 1000 + at,
  getHoldingRegister: (at) => written.get(at) ?? 1000 + at,
  getCoil: (at) => written.get(`coil ${at}`) ?? at % 3 === 0,
  getDiscreteInput: (at) => at % 3 === 0,
  setRegister: (at, value) => written.set(at, value),
  setCoil: (at, value) => written.set(`coil ${at}`, value),
};
const [how, where, ...rest] = process.argv.slice(2);
const server =
  how === "tcp"
    ? new ServerTCP(memory, { host: "127.0.0.1", port: Number(where), unitID: Number(rest[0]) })
    : new ServerSerial(memory, {
        path: where, port: where, baudRate: Number(rest[0]), unitID: Number(rest[1]), interval: 50,
        openCallback: (error) => console.log(error ? `cannot open: ${error.message}` : "ready"),
      });
server.on("initialized", () => console.log("ready"));
server.on("error", (error) => console.log(`failed: ${error.message}`));
