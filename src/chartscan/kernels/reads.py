"""States asked for in the middle of a scan, from which a sequence can fork."""

from torch import Tensor

Read = tuple[Tensor, Tensor]  # rows (R,), positions (R,): the state after that position of that row
