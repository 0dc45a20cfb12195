"""Estimators of when something happens, of rows that were watched for different times.

Kaplan and Meier (1958) estimate how many are left where a row can end in one way, Aalen and Johansen (1978)
how many ended in each where there are several: with S the share left, n the rows at risk at time t and d_k
those that ended in way k then,

    S(t) = S(t-) * (1 - sum of d_k / n)        F_k(t) = F_k(t-) + S(t-) * d_k / n

With one way F = 1 - S. Rows that were censored at t were at risk at t. The variance of F is that of
Marubini and Valsecchi (Analysing Survival Data, 1995), which is Greenwood's where there is one way;
the bands are symmetric in log(-log F) (Kalbfleisch and Prentice, 2002) and so stay between 0 and 1.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Z = 1.959964  # of a normal distribution: 95 % are within
FAR = 100.0  # deviations of log(-log F) beyond which the band is all of it


class Incidence(NamedTuple):
    """What became of the rows up to each time, as shares of all, with bands of 95 %."""

    at_risk: "NDArray[np.float64]"
    share: "NDArray[np.float64]"
    low: "NDArray[np.float64]"
    high: "NDArray[np.float64]"
    left: "NDArray[np.float64]"
    error: "NDArray[np.float64]"


def incidence(ended: "ArrayLike", competing: "ArrayLike", censored: "ArrayLike") -> Incidence:
    """Estimate the share that ended in the way that is asked about, from counts by time in ascending order.

    `ended`, `competing` and `censored` count, at each time, the rows that ended so, that ended otherwise,
    and that were watched no longer. `error` is the standard error of the share.
    """
    import numpy as np

    asked, other, lost = (np.asarray(counts, float) for counts in (ended, competing, censored))
    gone = asked + other
    at_risk = (gone + lost)[::-1].cumsum()[::-1]
    left = np.cumprod(1 - gone / at_risk)
    before = np.concatenate([[1.0], left[:-1]])[: len(left)]
    share = np.minimum(np.cumsum(before * asked / at_risk), 1)  # a sum of rounded parts
    error = np.sqrt(_variance(share, before, asked, gone, at_risk))
    low, high = _band(share, error)
    return Incidence(at_risk, share, low, high, left, error)


def _variance(
    share: "NDArray[np.float64]",
    before: "NDArray[np.float64]",
    asked: "NDArray[np.float64]",
    gone: "NDArray[np.float64]",
    at_risk: "NDArray[np.float64]",
) -> "NDArray[np.float64]":
    import numpy as np

    # Nobody is at risk after a time at which all ended: what it adds is multiplied by 0 there.
    remain = np.maximum(at_risk - gone, 1)
    spread = np.where(at_risk > gone, gone / (at_risk * remain), 0)
    mixed = before * asked / at_risk**2
    own = before**2 * asked * (at_risk - asked) / at_risk**3
    # Sums over all times up to t of (F(t) - F)^2 * spread + own - 2 * (F(t) - F) * mixed.
    squares = (
        share**2 * spread.cumsum()
        - 2 * share * (share * spread).cumsum()
        + (share**2 * spread).cumsum()
    )
    crossed = share * mixed.cumsum() - (share * mixed).cumsum()
    variance: NDArray[np.float64] = np.maximum(squares + own.cumsum() - 2 * crossed, 0)
    return variance


def _band(
    share: "NDArray[np.float64]", error: "NDArray[np.float64]"
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    import numpy as np

    inside = (share > 0) & (share < 1)
    base = np.where(inside, share, 0.5)
    reach = np.minimum(Z * error / (base * -np.log(base)), FAR)
    low, high = (base ** np.exp(sign * reach) for sign in (1, -1))
    return np.where(inside, low, share), np.where(inside, high, share)
