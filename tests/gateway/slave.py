"""A pymodbus RTU server: slave.py DEVICE. Units 1 to 16, each with its own memory."""

import sys

import compat
from pymodbus.server import StartSerialServer

try:
    from pymodbus.framer import FramerType

    framer = FramerType.RTU
except ImportError:
    from pymodbus.transaction import ModbusRtuFramer as framer

StartSerialServer(
    context=compat.units(range(1, 17), 100),
    framer=framer,
    port=sys.argv[1],
    baudrate=115200,
    parity="N",
    stopbits=1,
)
