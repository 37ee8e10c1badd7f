// The same boiler as plc.c, for machines without a C compiler or libmodbus, on npm's modbus-serial
// (npm install modbus-serial). Registers and behaviour are described in plc.c.
//   usage: node plc.js PORT [STATE_FILE]
//          node plc.js read PORT REGISTER
"use strict";
const fs = require("node:fs");
const ModbusRTU = require("modbus-serial");

if (process.argv[2] === "read") {
  const client = new ModbusRTU();
  client.setTimeout(2000);
  client
    .connectTCP("127.0.0.1", { port: Number(process.argv[3]) })
    .then(() => {
      client.setID(1);
      return client.readHoldingRegisters(Number(process.argv[4]), 1);
    })
    .then(({ data }) => {
      console.log((data[0] << 16) >> 16);
      process.exit(0);
    })
    .catch((error) => {
      console.error(`cannot read register ${process.argv[4]} at port ${process.argv[3]}: ${error.message}`);
      process.exit(1);
    });
} else {
  serve(Number(process.argv[2] ?? 0), process.argv[3]);
}

function serve(port, state) {
  const registers = new Uint16Array(64);
  const coils = new Uint8Array(16);
  const [SETPOINT, CYCLES, RUNNING, WRITES, HEATER, FAN] = [2, 3, 4, 10, 0, 1];
  recall();
  let celsius = 19.5;
  const begun = Date.now();

  // The setpoint and the fan survive a restart, as in a PLC with retentive memory.
  function recall() {
    registers[SETPOINT] = 200;
    if (!state || !fs.existsSync(state)) return;
    const [setpoint, fan] = fs.readFileSync(state, "utf8").trim().split(" ").map(Number);
    registers[SETPOINT] = setpoint;
    coils[FAN] = fan;
  }

  function keep() {
    registers[WRITES]++;
    if (!state) return;
    fs.writeFileSync(`${state}.new`, `${registers[SETPOINT]} ${coils[FAN]}\n`);
    fs.renameSync(`${state}.new`, state);
  }

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

  const server = new ModbusRTU.ServerTCP(
    {
      getCoil: (address) => coils[checked(coils, address)] === 1,
      getDiscreteInput: (address) => coils[checked(coils, address)] === 1,
      getInputRegister: (address) => registers[checked(registers, address)],
      getHoldingRegister: (address) => registers[checked(registers, address)],
      setCoil: (address, value) => {
        coils[checked(coils, address)] = value ? 1 : 0;
        keep();
      },
      setRegister: (address, value) => {
        registers[checked(registers, address)] = value;
        keep();
      },
    },
    { host: "127.0.0.1", port: port, debug: false, unitID: 255 },
  );
  server.on("initialized", () => {
    console.log(`plc listening on 127.0.0.1:${server._server.address().port}`);
  });
  server.on("socketError", () => {});
  move();
  setInterval(move, 1000);
  process.on("SIGTERM", () => process.exit(0));
}
