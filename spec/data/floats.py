"""Writes floats.txt: doubles in 17 digits, and as Python's repr (and so json.dumps) writes them.

    python3 spec/data/floats.py
"""
import os
import random
import struct

random.seed(20260731)
values = [2.0 ** -44, 5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308, 0.1, 0.3, 1e22,
          1e23, 9007199254740993.0, 1e16, 9999999999999998.0, 123456789012345680.0, 1e-5, 1e-4, 0.0001234, 1.5e300,
          0.0, 1.0, 1e15, 100.0, 4.35, 2 / 3, 1e21, 1e308, 5e-310]
values += [2.0 ** power for power in range(-1074, 1024, 7)]
while len(values) < 800:
    value = struct.unpack("<d", struct.pack("<Q", random.getrandbits(64)))[0]
    if value == value and abs(value) != float("inf"):
        values.append(value)
values += [round(random.uniform(-1e6, 1e6), random.randint(0, 8)) for _ in range(200)]
# exactly between two texts of 16 or 17 digits: the even one is written
values += [random.randrange(2 ** 49, 2 ** 51) + random.choice([0.25, 0.75]) for _ in range(200)]

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "floats.txt"), "w") as out:
    for value in values:
        out.write("%.16e %r\n" % (value, value))
