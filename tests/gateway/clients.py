"""pymodbus clients at once: clients.py PORT CLIENTS ROUNDS. Each has its own unit and values and must see nobody else's."""

import sys
import threading

import compat

port, clients, rounds = map(int, sys.argv[1:])
together = threading.Barrier(clients)
failures = []


def check(answer):
    if answer.isError():
        raise AssertionError(answer)
    return answer


def run(number):
    client = compat.connect(port, timeout=20)
    unit = compat.unit(number)
    together.wait()
    for turn in range(rounds):
        values = [number << 8 | turn, turn << 8 | number, 0xFFFF - number]
        check(client.write_registers(number, values, **unit))
        found = check(client.read_holding_registers(number, count=3, **unit)).registers
        if found != values:
            raise AssertionError(f"wrote {values}, read {found}")
        coils = [bool(number >> bit & 1) for bit in range(5)]
        check(client.write_coils(number, coils, **unit))
        found = check(client.read_coils(number, count=5, **unit)).bits[:5]
        if found != coils:
            raise AssertionError(f"wrote {coils}, read {found}")
    client.close()


def guarded(number):
    try:
        run(number)
    except BaseException as failure:
        together.abort()
        failures.append(f"client {number}: {failure!r}")


threads = [threading.Thread(target=guarded, args=(number,)) for number in range(1, clients + 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\n".join(failures) or f"{clients} clients, {rounds} rounds: ok")
sys.exit(bool(failures))
