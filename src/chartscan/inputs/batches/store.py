"""The tokens of all subjects of a split in a few long arrays."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from chartscan.errors import DataError
from chartscan.inputs.tokens import Encoded
from chartscan.inputs.tokens.encoded import DTYPES


@dataclass(frozen=True)
class TokenStore:
    """Tokens of S subjects, one after the other: about 29 bytes a token."""

    subject_ids: np.ndarray  # (S,) int64, ascending
    bounds: np.ndarray  # (S + 1,) int64, where each subject's tokens begin
    tokens: Encoded  # (tokens,)

    @classmethod
    def build(cls, encoded: Iterable[tuple[int, Encoded]]) -> "TokenStore":
        """A store of (subject_id, tokens) in any order; DataError when a subject comes twice."""
        found = sorted(encoded, key=lambda item: item[0])
        ids = np.array([subject for subject, _ in found], dtype=np.int64)
        if len(np.unique(ids)) < len(ids):
            raise DataError("A subject came twice: every subject must lie in one file of the dataset.")
        lengths = [tokens.n for _, tokens in found]
        names = [f.name for f in fields(Encoded)]
        parts = [[getattr(tokens, name) for _, tokens in found] for name in names]
        bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        return cls(ids, bounds, Encoded(*(_joined(*named) for named in zip(names, parts, strict=True))))

    def __len__(self) -> int:
        return len(self.subject_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each subject (S,)."""
        return np.diff(self.bounds)

    def __getitem__(self, index: int) -> Encoded:
        """Tokens of the subject at `index` of `subject_ids`, as views."""
        a, b = self.bounds[index], self.bounds[index + 1]
        return Encoded(*(getattr(self.tokens, f.name)[a:b] for f in fields(Encoded)))

    def index_of(self, subject_ids: np.ndarray) -> np.ndarray:
        """Indices of subjects by id; DataError, with how many, when some are not in the store."""
        index = np.searchsorted(self.subject_ids, subject_ids)
        index = np.minimum(index, max(len(self) - 1, 0))
        missing = len(self) == 0 or self.subject_ids[index] != subject_ids
        if np.any(missing) and len(subject_ids):
            count = int(np.sum(missing)) if len(self) else len(subject_ids)
            raise DataError(f"Labels: {count} of {len(subject_ids)} belong to subjects without events here.")
        return index


def _joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.array([], dtype=DTYPES[name])
