"""Describes models with coremltools, independently of the reader under test.

    python golden.py MODEL...        writes MODEL's name with .golden.json beside it
    python golden.py --lines < list  one JSON line per model of the list

The description comes from coremltools' protobuf classes, the weights from its
blob reader. Recorded with coremltools 9.0.
"""
import glob
import hashlib
import json
import os
import sys

import numpy as np
from coremltools.libmilstoragepython import _BlobStorageReader
from coremltools.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2

DTYPES = {"FLOAT16": "fp16", "FLOAT32": "fp32", "DOUBLE": "fp64", "INT32": "int32", "INT8": "int8"}


def drop(d):
    """Leaves out what says nothing."""
    return {k: v for k, v in d.items() if v not in (None, "", [], {}, False)}


def bounds(r):
    return {"lowerBound": r.lowerBound, "upperBound": r.upperBound if r.upperBound >= 0 else -1}


def tensor(a):
    default = a.WhichOneof("defaultOptionalValue")
    dtype = DTYPES.get(FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(a.dataType))
    out = drop({
        "dataType": dtype,
        "shape": list(a.shape),
        "enumeratedShapes": [list(s.shape) for s in a.enumeratedShapes.shapes],
        "shapeRange": [bounds(r) for r in a.shapeRange.sizeRanges],
    })
    if default:
        out["defaultValue"] = getattr(a, default)
    return out


def image(i):
    out = {"width": i.width, "height": i.height}
    if i.colorSpace:
        out["colorSpace"] = FeatureTypes_pb2.ImageFeatureType.ColorSpace.Name(i.colorSpace)
    kind = i.WhichOneof("SizeFlexibility")
    if kind == "enumeratedSizes":
        out["enumeratedSizes"] = [{"width": s.width, "height": s.height} for s in i.enumeratedSizes.sizes]
    if kind == "imageSizeRange":
        out["widthRange"] = bounds(i.imageSizeRange.widthRange)
        out["heightRange"] = bounds(i.imageSizeRange.heightRange)
    return out


def feature(f):
    kind = f.type.WhichOneof("Type")
    value = getattr(f.type, kind) if kind else None
    out = {"name": f.name, "shortDescription": f.shortDescription, "isOptional": f.type.isOptional}
    if kind == "multiArrayType":
        out.update(type="tensor", tensor=tensor(value))
    elif kind == "stateType":
        out.update(type="state", tensor=tensor(value.arrayType))
    elif kind == "imageType":
        out.update(type="image", image=image(value))
    elif kind == "dictionaryType":
        out.update(type="dictionary", dictionary={"keyType": value.WhichOneof("KeyType").replace("KeyType", "")})
    elif kind == "sequenceType":
        out.update(type="sequence", sequence={"elementType": value.WhichOneof("Type").replace("Type", ""),
                                              "sizeRange": bounds(value.sizeRange)})
    elif kind:
        out["type"] = kind.replace("Type", "")
    return {"name": f.name, **drop(out)}


def vector_labels(m):
    for field in ("stringClassLabels", "int64ClassLabels"):
        values = list(getattr(getattr(m, field, None), "vector", []))
        if values:
            return {"strings" if field[0] == "s" else "int64s": values}
    return None


def program_labels(function):
    for op in function.block_specializations[function.opset].operations:
        if op.type != "classify":
            continue
        values = op.inputs["classes"].arguments[0].value.immediateValue.list.values
        tensors = [v.immediateValue.tensor for v in values]
        if tensors[0].WhichOneof("value") == "strings":
            return {"strings": [t.strings.values[0] for t in tensors]}
        return {"int64s": [(t.longInts.values or t.ints.values)[0] for t in tensors]}
    return None


def interface(d, program, name):
    out = {
        "functionName": name,
        "states": [feature(f) for f in d.state],
        "predictedFeatureName": d.predictedFeatureName,
        "predictedProbabilitiesName": d.predictedProbabilitiesName,
    }
    if name:
        out["opset"] = program.functions[name].opset
        out["classLabels"] = program_labels(program.functions[name])
    return {"inputs": [feature(f) for f in d.input], "outputs": [feature(f) for f in d.output], **drop(out)}


def describe(m):
    d, kind = m.description, m.WhichOneof("Type")
    meta = d.metadata
    out = {"specificationVersion": m.specificationVersion, "modelType": kind}
    out["metadata"] = drop({"shortDescription": meta.shortDescription, "versionString": meta.versionString,
                            "author": meta.author, "license": meta.license, "userDefined": dict(meta.userDefined)})
    out["isUpdatable"] = m.isUpdatable
    out["trainingInputs"] = [feature(f) for f in d.trainingInput]
    if kind == "mlProgram":
        described = {f.name: f for f in d.functions} or {"main": d}
        out["functions"] = [interface(f, m.mlProgram, n) for n, f in described.items()]
        default = d.defaultFunctionName if d.functions else "main"
        out.update(next(f for f in out["functions"] if f["functionName"] == default))
    else:
        out.update(interface(d, None, ""))
        out["classLabels"] = vector_labels(getattr(m, kind))
    if kind.startswith("pipeline"):
        p = m.pipeline if kind == "pipeline" else getattr(m, kind).pipeline
        names = list(p.names) + [""] * len(p.models)
        out["pipeline"] = [{**drop({"name": n}), "description": describe(s)} for n, s in zip(names, p.models)]
        if d.predictedFeatureName:
            labels = [s["description"].get("classLabels") for s in out["pipeline"]]
            out["classLabels"] = ([x for x in labels if x] or [None])[-1]
    return {**drop(out), "inputs": out["inputs"], "outputs": out["outputs"]}


def blob_values(block):
    for op in block.operations:
        yield from op.attributes.values()
        for argument in op.inputs.values():
            for binding in argument.arguments:
                yield binding.value
        for inner in op.blocks:
            yield from blob_values(inner)


READERS = {"FLOAT16": "fp16", "FLOAT32": "float"}


def weights(m, folder):
    out = {}
    for function in m.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for v in blob_values(block):
                if v.WhichOneof("value") != "blobFileValue":
                    continue
                b = v.blobFileValue
                dtype = MIL_pb2.DataType.Name(v.type.tensorType.dataType)
                reader = _BlobStorageReader(b.fileName.replace("@model_path", folder))
                read = getattr(reader, f"read_{READERS.get(dtype, dtype.lower())}_data")
                data = np.asarray(read(b.offset))
                out[str(b.offset)] = {"dataType": READERS.get(dtype, dtype.lower()).replace("float", "fp32"),
                                      "count": data.size, "sha256": hashlib.sha256(data.tobytes()).hexdigest()}
    return out


def overlay(path, items, m):
    """Puts in the words that Xcode keeps beside the model, of which coremltools knows nothing."""
    meta = m.description.metadata
    for item in items:
        if item["name"] == "Metadata.json":
            with open(f"{path}/Data/{item['path']}") as f:
                words = json.load(f)
            meta.versionString = words.get("MLModelVersionStringKey", meta.versionString)
            meta.shortDescription = words.get("MLModelDescriptionKey", meta.shortDescription)


def golden(path):
    file, items = path, []
    if path.endswith(".mlpackage"):
        with open(path + "/Manifest.json") as f:
            manifest = json.load(f)
        file = f"{path}/Data/{manifest['itemInfoEntries'][manifest['rootModelIdentifier']]['path']}"
        items = manifest["itemInfoEntries"].values()
    m = Model_pb2.Model()
    with open(file, "rb") as f:
        m.ParseFromString(f.read())
    overlay(path, items, m)
    return drop({"description": describe(m), "weights": weights(m, os.path.dirname(file))})


def main(args):
    if args == ["--lines"]:
        for line in sys.stdin:
            print(json.dumps({"path": line.strip(), **golden(line.strip())}), flush=True)
        return
    for path in args:
        with open(os.path.splitext(path)[0] + ".golden.json", "w") as f:
            json.dump(golden(path), f, indent=1, sort_keys=True, ensure_ascii=False)
            f.write("\n")


main(sys.argv[1:])
