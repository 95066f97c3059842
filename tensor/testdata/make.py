"""Records the files of this folder.

Oracles: NumPy 2.2.6 (npy and npz files, conversions) and coremltools 9.0
(packed.json). Run with both installed: python make.py. It is not needed to
build or test.
"""

import json
import os

import numpy as np
from coremltools.optimize._utils import pack_elements_into_bits

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def ramp(dtype, *shape):
    """The values 0, 1, 2, ... less 5 where the type has a sign."""
    n = int(np.prod(shape))
    kind = np.dtype(dtype).kind
    values = np.arange(n) % 2 if kind == "b" else np.arange(n) - (5 if kind in "if" else 0)
    return values.astype(dtype).reshape(shape)


CODES = ["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
members = {code: ramp(code, 3, 4) for code in CODES}
members["c0/fortran"] = np.asfortranarray(ramp("f4", 2, 3, 5))
members["c0/big"] = ramp("f4", 7).astype(">f4")
members["scalar"] = np.array(-2.5, dtype="f4")
members["empty"] = ramp("i4", 3, 0)
np.savez("plain.npz", **members)
np.savez_compressed("deflated.npz", **members)

np.save("vector.npy", ramp("f4", 6))
with open("version2.npy", "wb") as f:
    np.lib.format.write_array(f, ramp("i2", 2, 3), version=(2, 0))
with open("version3.npy", "wb") as f:
    np.lib.format.write_array(f, np.asfortranarray(ramp(">i2", 2, 3)), version=(3, 0))

np.save("refused_text.npy", np.array(["a", "bc"]))
np.save("refused_complex.npy", np.array([1 + 2j]))
np.save("refused_structured.npy", np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]))
np.save("refused_object.npy", np.array([{}], dtype=object), allow_pickle=True)

rng = np.random.default_rng(1)
wide = np.concatenate([
    rng.standard_normal(200) * 10.0 ** rng.integers(-9, 6, 200),
    np.ldexp(1 + rng.integers(0, 1 << 12, 200) / 4096, rng.integers(-26, 16, 200).astype("i4")),
    (1 + 2.0**-11 + np.array([-1, 0, 1]) * 2.0**-40),  # rounds wrongly by way of float32
    (1 + 3 * 2.0**-11 + np.array([-1, 0, 1]) * 2.0**-40),
    [0.0, -0.0, np.inf, -np.inf, 65519.99, 65520.0, 2.0**-25, 2.0**-25 * 1.0001, 5e-324, 1e300],
])
small = rng.uniform(-127.99, 127.99, 100)
whole = rng.integers(-(2**63), 2**63 - 1, 100, dtype="i8") >> rng.integers(0, 63, 100)
with np.errstate(over="ignore"):
    np.savez_compressed(
        "conversions.npz",
        wide=wide, wide_f4=wide.astype("f4"), wide_f2=wide.astype("f2"),
        small=small, small_i1=small.astype("i1"), small_i8=small.astype("i8"), small_b1=small.astype("b1"),
        whole=whole, whole_f4=whole.astype("f4"), whole_f8=whole.astype("f8"), whole_b1=whole.astype("b1"),
        f2=np.arange(1 << 16, dtype="u2"), f2_f4=np.arange(1 << 16, dtype="u2").view("f2").astype("f4"),
    )

packed = []
for bits in [1, 2, 3, 4, 6]:
    for signed in [False, True]:
        if signed and bits == 1:
            continue
        low = -(1 << (bits - 1)) if signed else 0
        values = rng.integers(low, low + (1 << bits), 29).astype("i1" if signed else "u1")
        packed.append({
            "bits": bits, "signed": signed, "values": values.tolist(),
            "packed": pack_elements_into_bits(values, bits).tobytes().hex(),
        })
with open("packed.json", "w") as f:
    json.dump(packed, f, indent=1)
    f.write("\n")
