"""What pymodbus has renamed between 3.0 (Debian 12) and 3.16 (PyPI)."""

import inspect

import pymodbus.datastore as datastore
from pymodbus.client import ModbusTcpClient

_names = inspect.signature(ModbusTcpClient.read_holding_registers).parameters
_UNIT = next(name for name in ("device_id", "slave", "unit") if name in _names)


def unit(number):
    """The keyword argument of a request that says which unit it is for."""
    return {_UNIT: number}


def connect(port, **options):
    client = ModbusTcpClient("127.0.0.1", port=port, **options)
    if not client.connect():
        raise SystemExit(f"cannot connect to port {port}")
    return client


def units(numbers, size):
    """A server's memory: `size` of everything for each of the units."""

    def block():
        return datastore.ModbusSequentialDataBlock(1, [0] * size)

    device = getattr(datastore, "ModbusDeviceContext", None) or datastore.ModbusSlaveContext
    devices = {number: device(di=block(), co=block(), hr=block(), ir=block()) for number in numbers}
    context = inspect.signature(datastore.ModbusServerContext).parameters
    keyword = "devices" if "devices" in context else "slaves"
    return datastore.ModbusServerContext(**{keyword: devices, "single": False})
