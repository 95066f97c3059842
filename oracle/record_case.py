#!/usr/bin/env python3
"""Records a case with Core ML itself, for "coreml verify".

    record_case.py MODEL.mlpackage --inputs in.npz --out DIR [--function NAME] [--compute-units CPU_ONLY]
                   [--id ID] [--rtol 1e-3] [--atol 1e-3]

Runs on macOS only, with coremltools 9.0: elsewhere Core ML does not predict. It has not been run on a Mac yet.

in.npz has one member per input, or members "c<call>/<input>" for several calls in order on one state. DIR becomes a case:
model, inputs.npz, expected.npz, case.json. The tolerance is absolute plus relative; float16 models rarely agree closer than 1e-3.
"""
import argparse
import json
import os
import platform
import re
import shutil
import sys

import numpy as np


def calls_of(inputs):
    """Groups members "c<call>/<name>" by call; a file without such members is one call."""
    calls = {}
    for member in inputs.files:
        m = re.fullmatch(r"c(\d+)/(.+)", member)
        call, name = (int(m[1]), m[2]) if m else (0, member)
        calls.setdefault(call, {})[name] = inputs[member]
    return [calls[c] for c in sorted(calls)]


def value(call, name, v, arrays):
    """One value as case.json describes it; arrays go to the npz."""
    if isinstance(v, str):
        return {"kind": "string", "data": v}
    if isinstance(v, (bool, int, np.integer)):
        return {"kind": "int", "data": int(v)}
    if isinstance(v, (float, np.floating)):
        return {"kind": "double", "data": float(v)}
    if isinstance(v, dict):
        return {"kind": "dict", "items": [[k, float(x)] for k, x in v.items()]}
    a = np.asarray(v)
    member = "c%d/%s" % (call, name)
    arrays[member] = a
    return {"kind": "array", "npz": member, "dtype": str(a.dtype), "shape": list(a.shape)}


def record(args):
    import coremltools as ct

    model = ct.models.MLModel(args.model, compute_units=ct.ComputeUnit[args.compute_units], function_name=args.function)
    spec = model.get_spec()
    kind = os.path.splitext(args.model.rstrip("/"))[1][1:]
    state = model.make_state() if len(spec.description.state) else None
    given, wanted, calls = {}, {}, []
    for i, inputs in enumerate(calls_of(np.load(args.inputs))):
        call = {"type": "predict", "state": 0 if state else None, "inputs": {}, "expected": {}}
        for name, v in inputs.items():
            call["inputs"][name] = value(i, name, v, given)
        for name, v in model.predict(inputs, state=state).items():
            call["expected"][name] = dict(value(i, name, v, wanted), atol=args.atol, rtol=args.rtol)
        calls.append(call)
    case = {
        "id": args.id or os.path.basename(args.out.rstrip("/")), "kind": kind, "model_type": spec.WhichOneof("Type"),
        "spec_version": spec.specificationVersion, "function_name": args.function, "compute_units": args.compute_units,
        "stateful": state is not None,
        "expected_source": "Core ML, macOS %s on %s, coremltools %s" % (platform.mac_ver()[0], platform.machine(), ct.__version__),
        "calls": calls,
    }
    os.makedirs(args.out)
    target = os.path.join(args.out, "model." + kind)
    (shutil.copytree if os.path.isdir(args.model) else shutil.copy)(args.model, target)
    np.savez_compressed(os.path.join(args.out, "inputs.npz"), **given)
    np.savez_compressed(os.path.join(args.out, "expected.npz"), **wanted)
    with open(os.path.join(args.out, "case.json"), "w") as f:
        json.dump(case, f, indent=1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--inputs", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--function")
    p.add_argument("--compute-units", default="CPU_ONLY", choices=["ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"])
    p.add_argument("--id")
    p.add_argument("--atol", type=float, default=1e-3)
    p.add_argument("--rtol", type=float, default=1e-3)
    args = p.parse_args()
    if platform.system() != "Darwin":
        sys.exit("record_case.py: Core ML predicts on macOS only; on other systems \"coreml predict --record\" records what our own engine says")
    record(args)


if __name__ == "__main__":
    main()
