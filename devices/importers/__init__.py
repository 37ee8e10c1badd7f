"""Other tools' descriptions of Modbus devices, as DeviceModels and Devices, with a note of what was left."""
