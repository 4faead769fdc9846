"""Token types: kinds of tokens, as ids of the model's type embedding.

The numbers are part of every artifact: a new type takes the next free id, none is ever reused.
"""

import numpy as np

from chartscan.schema import EVENT_TYPES

PAD, CLS, VS, VE, REG, INTERVAL, TASK = range(7)  # PAD equals chartscan.batch.PAD

TYPE_OF_EVENT = {
    "static": 7,
    "admission": 8,
    "visit_start": 9,
    "allergy": 10,
    "vital": 11,
    "lab": 12,
    "observation": 13,
    "procedure": 14,
    "immunization": 15,
    "medication_request": 16,
    "medication_dispense": 17,
    "medication_administration": 18,
    "medication_statement": 19,
    "diagnosis": 20,
    "visit_end": 21,
    "discharge": 22,
    "death": 23,
}
NAMES = {number: name for name, number in TYPE_OF_EVENT.items()} | {
    VS: "[VS]",
    VE: "[VE]",
    REG: "[REG]",
    INTERVAL: "interval",
}
NO_TOKENS = ("birth", "outcome")  # age carries the one; the other is an answer, never an input
STATIC = TYPE_OF_EVENT["static"]
N_TYPES = 24

MAX_VISIT_ORDER = 511  # later visits share the last number, so that a table of 512 always suffices

TYPE_OF_RANK = np.array([TYPE_OF_EVENT.get(name, PAD) for name in EVENT_TYPES], dtype=np.uint8)
