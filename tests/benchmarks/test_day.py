import numpy as np
import pytest

from benchmarks.day import A_DAY, Part, arrivals, main, part, said, through


def one_by_one(rate: float, coming: np.ndarray) -> tuple[float, list[float]]:
    """What waits at most before a part, and what leaves it, second by second."""
    waiting, most, leaving = 0.0, 0.0, []
    for came in coming:
        waiting += came
        leaving.append(min(waiting, rate))
        waiting -= leaving[-1]
        most = max(most, waiting)
    return most, leaving


def test_a_day_has_its_redemptions_and_its_peaks():
    coming = arrivals(10_000_000, peak=10)

    assert len(coming) == A_DAY
    assert coming.sum() == pytest.approx(10_000_000)
    assert coming.max() == pytest.approx(10 * coming.mean())
    assert coming.min() >= 0


def test_a_queue_is_what_second_by_second_makes_it():
    coming = np.random.default_rng(1).poisson(100, 5_000).astype(float)
    coming[1_000:1_500] *= 4

    queue, behind = through(coming, [Part("first", 130), Part("second", 120)])

    first, leaving = one_by_one(130, coming)
    second, _ = one_by_one(120, np.array(leaving))
    assert queue.waiting == pytest.approx(first)
    assert behind.waiting == pytest.approx(second)
    assert queue.oldest == pytest.approx(first / 130)
    assert queue.busy == pytest.approx(sum(leaving) / (130 * 5_000))


def test_what_is_quick_enough_for_the_peak_lets_nobody_wait():
    (queue,) = through(arrivals(10_000_000), [Part("web", 1_200)])

    assert (round(queue.waiting), queue.seconds) == (0, 0)


def test_the_table_has_a_line_a_part():
    table = said(through(arrivals(1_000_000), [Part("web", 100), Part("settler", 50)]))

    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["web", "settler"]


def test_a_part_is_written_as_its_name_and_its_rate():
    assert part("deliverer, one endpoint=500") == Part("deliverer, one endpoint", 500)


@pytest.mark.parametrize("written", ["web", "web=", "web=fast", "web=0", "web=-1", "web=nan"])
def test_a_part_without_a_rate_is_refused_in_a_sentence(written, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["day", written])

    with pytest.raises(SystemExit):
        main()

    assert f"invalid part value: '{written}'" in capsys.readouterr().err
