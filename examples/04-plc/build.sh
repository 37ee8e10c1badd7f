#!/bin/sh
# Builds the PLC into the directory given (default: here) and prints the path of the program. Needs a C compiler and
# Debian's libmodbus-dev; says so and exits with 3 when one is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
compiler=$(command -v cc || command -v gcc || true)
[ -n "$compiler" ] || { echo "no C compiler: apt-get install gcc" >&2; exit 3; }
[ -e /usr/include/modbus/modbus.h ] || { echo "no libmodbus: apt-get install libmodbus-dev" >&2; exit 3; }
mkdir -p "$out"
"$compiler" -std=gnu11 -O2 -Wall -Wextra -o "$out/plc" "$here/plc.c" -lmodbus
echo "$out/plc"
