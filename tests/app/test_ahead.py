"""Work done ahead in threads."""

import time

from app import cores
from app.ahead import in_order


def test_what_nobody_will_read_is_not_done():
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.05)
        return item

    results = in_order(work, range(1000), ahead=100)
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
    results.close()  # as an interrupt does

    assert len(begun) <= 3 + 2 * cores.available()
