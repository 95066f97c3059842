#!/usr/bin/env python3
"""Records testdata/cases/tiny_classifier: an image classifier of a few operators.

    python oracle/tiny_classifier.py testdata/cases

The package is made by coremltools 9.0; the expected values are numpy's, in float64.
"""
import json
import os
import shutil
import sys

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb

LABELS = ["red", "green", "blue"]
SIDE = 8


def make():
    weight = np.eye(3, dtype=np.float32) * 4

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIDE, SIDE))], opset_version=ct.target.iOS15)
    def prog(image):
        x = mb.mul(x=image, y=np.float32(1 / 255))
        x = mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)
        x = mb.linear(x=x, weight=weight)
        return mb.softmax(x=x, axis=-1, name="scores")

    model = ct.convert(
        prog,
        inputs=[ct.ImageType(name="image", shape=(1, 3, SIDE, SIDE), color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(LABELS),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
    )
    model.short_description = "Names the strongest colour of a picture"
    model.author = "this project"
    model.input_description["image"] = "a picture"
    return model, weight


def expect(pixels, weight):
    z = (pixels.astype(np.float64) / 255).mean((0, 1)) @ weight.astype(np.float64).T
    p = np.exp(z - z.max())
    return p / p.sum()


def main():
    folder = os.path.join(sys.argv[1], "tiny_classifier")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model, weight = make()
    model.save(os.path.join(folder, "model.mlpackage"))
    rng = np.random.default_rng(1)
    calls, arrays = [], {}
    for i in range(len(LABELS)):
        pixels = rng.integers(0, 128, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[:, :, i] += 100
        p = expect(pixels, weight)
        arrays["c%d/image" % i] = pixels
        calls.append({
            "type": "predict", "state": None,
            "inputs": {"image": {"kind": "image", "npz": "c%d/image" % i, "mode": "RGB"}},
            "expected": {
                "classLabel": {"kind": "string", "data": LABELS[int(p.argmax())], "atol": 0, "rtol": 0},
                "classLabel_probs": {"kind": "dict", "items": [[l, float(x)] for l, x in zip(LABELS, p)], "atol": 1e-5, "rtol": 1e-5},
            },
        })
    np.savez(os.path.join(folder, "inputs.npz"), **arrays)
    case = {
        "id": "tiny_classifier", "kind": "mlpackage", "model_type": "mlProgram", "spec_version": model.get_spec().specificationVersion,
        "group": "cli", "ops": {"mul": 1, "reduce_mean": 1, "linear": 1, "softmax": 1, "classify": 1}, "function_name": None,
        "expected_source": "numpy %s in float64; package by coremltools %s; oracle/tiny_classifier.py" % (np.__version__, ct.__version__),
        "calls": calls,
    }
    with open(os.path.join(folder, "case.json"), "w") as f:
        json.dump(case, f, indent=1)


main()
