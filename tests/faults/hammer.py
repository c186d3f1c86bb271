"""A client that makes requests as fast as it can until its input ends, and then counts the answers by status.

`hammer.py URL THREADS`, with the token as the first line of standard input.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter

import httpx2


def main() -> None:
    """Hammer."""
    url, threads = sys.argv[1], int(sys.argv[2])
    headers = {"Authorization": f"Bearer {sys.stdin.readline().strip()}"}
    stop, answers = threading.Event(), Counter[str]()

    def hammer() -> None:
        with httpx2.Client(base_url=url, headers=headers, timeout=60) as http:
            while not stop.is_set():
                answers[str(http.get("/api/servers").status_code)] += 1
                answers[str(http.post("/api/servers", json={"name": "x" * 5000}).status_code)] += 1

    started = [threading.Thread(target=hammer) for _ in range(threads)]
    for one in started:
        one.start()
    sys.stdin.read()
    stop.set()
    for one in started:
        one.join()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
