"""Damage pickles in 3,000 ways and read them: what comes out is data or a MgkitError, and nothing is run.

Started by test_pickles.py as `python damage_pickles.py FOLDER`.
"""

import io
import pickle
import random
import sys
from pathlib import Path

import numpy as np
import torch

from mgkit.errors import MgkitError
from mgkit.models import read_checkpoint
from mgkit.pickles import load_pickle

folder, events = Path(sys.argv[1]), []


def watch(event, arguments):
    watched = ("exec", "compile", "import", "pickle", "subprocess", "os", "shutil", "socket", "ctypes")
    if event.split(".")[0] in watched:
        events.append((event, str(arguments)[:200]))


content = [
    {"frame_dir": "a", "keypoint": np.zeros((1, 2, 3), np.float16), "label": np.int64(3)},
    torch.ones(2),
]
state = {"state_dict": torch.nn.Linear(2, 3).state_dict(), "meta": {"seed": np.int64(3), "done": {1, 2}}}
plain = [pickle.dumps(content, protocol) for protocol in range(6)]
saved = io.BytesIO()
torch.save(state, saved, _use_new_zipfile_serialization=False)
# What Python and torch import at the first use is imported now.
for whole in plain:
    (folder / "plain").write_bytes(whole)
    load_pickle(folder / "plain")
(folder / "saved").write_bytes(saved.getvalue())
read_checkpoint(folder / "saved")

OPERATIONS = (b"R", b"b", b"\x81", b"\x92", b"Q", b"0", b"2", b"(", b"t", b"u", b"cos\nsystem\n")
draw = random.Random(0)
sys.addaudithook(watch)
unnamed = 0
read = {load_pickle: 0, read_checkpoint: 0}
for turn in range(3000):
    load = load_pickle if turn % 2 else read_checkpoint
    damaged = bytearray(draw.choice(plain) if turn % 2 else saved.getvalue())
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(damaged))
        match draw.randrange(3):
            case 0:
                damaged[at] = draw.randrange(256)
            case 1:
                del damaged[at : at + draw.randrange(4)]
            case 2:
                damaged[at:at] = draw.choice(OPERATIONS)
    (folder / "damaged").write_bytes(damaged)
    try:
        load(folder / "damaged")
        read[load] += 1
    except MgkitError as error:
        unnamed += str(folder / "damaged") not in str(error)
assert not events, events
assert not unnamed
assert min(read.values()) > 50, read
