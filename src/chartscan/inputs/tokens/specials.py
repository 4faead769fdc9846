"""The tokens that every vocabulary begins with, and the interval token between two visits."""

PAD, UNK, MASK, VS, VE, CLS, REG = range(7)
WEEKS, MONTHS = 4, 13  # [W_0]..[W_3], [M_0]..[M_12]
FIRST_WEEK = 7
FIRST_MONTH = FIRST_WEEK + WEEKS
LONG_TERM = FIRST_MONTH + MONTHS

SPECIALS = (
    "[PAD]",
    "[UNK]",
    "[MASK]",
    "[VS]",
    "[VE]",
    "[CLS]",
    "[REG]",
    *(f"[W_{week}]" for week in range(WEEKS)),
    *(f"[M_{month}]" for month in range(MONTHS)),
    "[LT]",
)


def interval_token(days: int) -> int:
    """Id of the interval token for `days` whole days between two visits.

    0-27 days: [W_(days // 7)]; 28-365: [M_(days // 30)], so 28 and 29 days are [M_0]; more: [LT].
    Visits recorded as beginning before the last one ended count as 0 days. EHRMamba, section 3.1.
    """
    if days < 28:
        return FIRST_WEEK + max(days, 0) // 7
    return FIRST_MONTH + days // 30 if days <= 365 else LONG_TERM


def interval_days(token: int) -> tuple[float, float]:
    """Return the days between visits that an interval token covers, as [first, second).

    [LT] has no end; two years stand for it.
    """
    if token < FIRST_MONTH:
        first = 7.0 * (token - FIRST_WEEK)
        return first, first + 7
    if token == LONG_TERM:
        return 366.0, 730.0
    month = token - FIRST_MONTH
    return max(30.0 * month, 28), min(30.0 * month + 30, 366)


def task_token_name(task: str) -> str:
    """The token that asks for `task`."""
    return f"[TASK:{task}]"
