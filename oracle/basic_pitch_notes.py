#!/usr/bin/env python3
"""Records what basic-pitch's own note creation makes of random activations.

    python oracle/basic_pitch_notes.py FOLDER cmd/coreml/testdata/basic_pitch_notes.npz

FOLDER is the unpacked wheel basic_pitch-0.4.0-py2.py3-none-any.whl. Needs numpy and
scipy; what the package imports for audio and MIDI files is replaced by empty modules.

Members of OUT: notes and onsets [frames, 88] float16, events [n, 3] int32 (first
frame, frame after the last, MIDI number) and amplitudes [n] float32, sorted by
first frame and MIDI number.
"""

import sys
import types

import numpy as np

FRAMES = 400


def note_creation(folder):
    for name in ("librosa", "mir_eval", "resampy", "pretty_midi"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["pretty_midi"].PrettyMIDI = object
    package = types.ModuleType("basic_pitch")
    package.__path__ = [folder + "/basic_pitch"]
    sys.modules["basic_pitch"] = package
    import basic_pitch.note_creation as module
    import scipy.signal  # the package expects it to be loaded

    return module


def activations(rng):
    """Overlapping notes, some struck, some fading in, some with gaps, over noise."""
    notes = 0.12 + 0.05 * rng.random((FRAMES, 88))
    onsets = 0.05 + 0.05 * rng.random((FRAMES, 88))
    for _ in range(90):
        start, key, length = rng.integers(3, FRAMES - 20), rng.integers(0, 88), rng.integers(5, 60)
        level = 0.25 + 0.6 * rng.random()
        rise = rng.choice([1, 2, 12])
        for i in range(min(length, FRAMES - start)):
            value = level * min(1, (i + 1) / rise) * (0.9 + 0.2 * rng.random())
            notes[start + i, key] = max(notes[start + i, key], value)
            if key < 87 and rng.random() < 0.7:
                notes[start + i, key + 1] = max(notes[start + i, key + 1], 0.6 * value)
        if length > 30:
            gap = start + rng.integers(10, 20)
            notes[gap : gap + rng.integers(2, 14), key] = 0.2
        if rng.random() < 0.6:
            onsets[start, key] = 0.4 + 0.5 * rng.random()
    return [(np.round(v * 256) / 256).astype(np.float16) for v in (notes, onsets)]  # packs well


def main(folder, out):
    module = note_creation(folder)
    notes, onsets = activations(np.random.default_rng(5))
    found = module.output_to_notes_polyphonic(
        notes.astype(np.float32), onsets.astype(np.float32),
        onset_thresh=0.5, frame_thresh=0.3, min_note_len=11, infer_onsets=True,
        max_freq=None, min_freq=None, melodia_trick=True, energy_tol=11,
    )
    found = [(int(a), int(b), int(p), float(v)) for a, b, p, v in found]
    found.sort(key=lambda f: (f[0], f[2]))
    np.savez_compressed(
        out, notes=notes, onsets=onsets,
        events=np.array([f[:3] for f in found], np.int32),
        amplitudes=np.array([f[3] for f in found], np.float32),
    )
    print(len(found), "notes")


main(*sys.argv[1:])
