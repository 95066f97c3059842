#!/usr/bin/env python3
"""Chooses testdata/cases/ops.zip and nets.zip out of larger collections of recorded cases.

    python oracle/choose_sample.py CORPUS NETS testdata/cases

CORPUS holds index.json and one zip of cases for each group; NETS holds a folder for each case.

ops.zip gets the smallest ML Program case of every operator in every opset, and of every operator
in either compute precision, as far as those are small; and a second, larger one of each operator.
nets.zip gets the networks that NETWORKS lists. The same collections give the same bytes.
"""
import io
import json
import os
import sys
import zipfile

# Cases that are no evidence, by folder.
EXCLUDED = {
    # It demands sums rounded to float16 of a program in float32.
    "TestConstexprLutToSparse.test_builder_to_backend_stress",
    # It demands that a box at the very threshold is dropped, others that it is kept.
    "TestNms.test_nms_corner_case_iou_equal_threshold",
}

# The largest case that is taken for the sake of an opset or a precision alone.
SMALL = 12 << 10

NETWORKS = """
    aud_gru_stream aud_stargan_vc
    classifier_utf8_labels
    cnn_batch_range
    dec_gpt2_onehot_int8blk_emb dec_llama_kv_int4b32 dec_mamba_step_vec2
    dty_fp16_io dty_int32_math
    enc_deberta_disentangled_pal2
    fcn_w8a8 qnt_w8a8_cnn
    image_range_hw
    mil_dynamic_resize mil_gru_lstm15 mil_list_rnn32
    multifunction_adapter2
    nerf_render
    segment_gray_image_out
    shufflenet_v2
    str_dlrm32_emb_pal4 str_early_exit_cond str_flow_logistics32 str_gnn_sage_gin str_greedy_while
    str_nbeats_sparse16 str_nonzero_rows str_range_batch_length32 str_reformer_lsh32
    str_relation_gathernd str_tabular_trees32
    video_stream_state
    vit_small_pal1
""".split()


def choose(index):
    """The cases of the sample: for each thing to cover, the smallest case that does."""
    programs = [c for c in index if c["model_type"] == "mlProgram" and not c.get("xfail")
                and c["folder"].rsplit("-", 1)[0] not in EXCLUDED]
    programs.sort(key=lambda c: (c["size"], c["id"]))
    chosen, covered, seen = [], set(), {}
    for c in programs:
        for op in c["ops"]:
            seen[op] = seen.get(op, 0) + 1
        wanted = {(op,) for op in c["ops"]}
        if c["size"] <= SMALL:
            wanted |= {(op, what) for op in c["ops"] for what in [*c["opset"], c["precision"]]}
            wanted |= {(op, "second") for op in c["ops"] if seen[op] >= 8}
        if wanted - covered:
            covered |= wanted
            chosen.append(c)
    return chosen


def write(name, files):
    """Writes a zip whose bytes depend on nothing but the given files."""
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for path in sorted(files):
            data = files[path]
            if path.endswith(".npz"):
                data = compressed(data)
            info = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if path.endswith(".npz") else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            z.writestr(info, data)
    print(f"{name}: {os.path.getsize(name) >> 10} KiB")


def compressed(npz):
    """The same members, each deflated."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz)) as z, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as w:
        for name in sorted(z.namelist()):
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            w.writestr(info, z.read(name))
    return out.getvalue()


def files_of(corpus, cases):
    files = {}
    for group in sorted({c["group"] for c in cases}):
        folders = {c["folder"] for c in cases if c["group"] == group}
        with zipfile.ZipFile(os.path.join(corpus, group + ".zip")) as z:
            for name in z.namelist():
                if name.split("/")[0] in folders and not name.endswith("/"):
                    files[group + "/" + name] = z.read(name)
    return files


def folder(nets, case):
    files = {}
    for d, _, names in os.walk(os.path.join(nets, case)):
        for n in names:
            with open(os.path.join(d, n), "rb") as f:
                files[os.path.relpath(os.path.join(d, n), nets)] = f.read()
    return files


def main(corpus, nets, out):
    with open(os.path.join(corpus, "index.json")) as f:
        cases = choose(json.load(f)["cases"])
    print(len(cases), "operator cases,", len(NETWORKS), "networks")
    write(os.path.join(out, "ops.zip"), files_of(corpus, cases))
    nets_files = {}
    for n in NETWORKS:
        nets_files |= folder(nets, n)
    write(os.path.join(out, "nets.zip"), nets_files)


if __name__ == "__main__":
    main(*sys.argv[1:])
