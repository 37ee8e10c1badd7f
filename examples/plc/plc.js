// The same boiler as plc.c, for machines without a C compiler or libmodbus, on npm's modbus-serial
// (npm install modbus-serial). Registers and behaviour are described in plc.c.
//   usage: node plc.js PORT
"use strict";
const { ServerTCP } = require("modbus-serial");

const registers = new Uint16Array(64);
const coils = new Uint8Array(16);
const [SETPOINT, CYCLES, RUNNING, WRITES, HEATER, FAN] = [2, 3, 4, 10, 0, 1];
registers[SETPOINT] = 200;
let celsius = 19.5;
const begun = Date.now();

function move() {
  const setpoint = ((registers[SETPOINT] << 16) >> 16) / 10;
  const on = celsius < setpoint;
  if (on && !coils[HEATER]) registers[CYCLES]++;
  coils[HEATER] = on ? 1 : 0;
  celsius += on ? 0.25 : -0.125;
  if (coils[FAN]) celsius -= 0.0625;
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, celsius);
  registers[0] = view.getUint16(2);
  registers[1] = view.getUint16(0);
  const seconds = Math.floor((Date.now() - begun) / 1000);
  registers[RUNNING] = seconds >>> 16;
  registers[RUNNING + 1] = seconds & 0xffff;
}

function checked(table, address) {
  if (address >= table.length) throw { modbusErrorCode: 2, message: "illegal data address" };
  return address;
}

const server = new ServerTCP(
  {
    getCoil: (address) => coils[checked(coils, address)] === 1,
    getDiscreteInput: (address) => coils[checked(coils, address)] === 1,
    getInputRegister: (address) => registers[checked(registers, address)],
    getHoldingRegister: (address) => registers[checked(registers, address)],
    setCoil: (address, value) => {
      coils[checked(coils, address)] = value ? 1 : 0;
      registers[WRITES]++;
    },
    setRegister: (address, value) => {
      registers[checked(registers, address)] = value;
      registers[WRITES]++;
    },
  },
  { host: "127.0.0.1", port: Number(process.argv[2] ?? 0), debug: false, unitID: 255 },
);
server.on("initialized", () => {
  console.log(`plc listening on 127.0.0.1:${server._server.address().port}`);
});
server.on("socketError", () => {});
move();
setInterval(move, 1000);
process.on("SIGTERM", () => process.exit(0));
