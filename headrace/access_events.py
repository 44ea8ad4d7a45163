"""Made-up web access events for `headrace demo` without files: seeded, so that every run ships the same day."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

_PATHS = (
    ("/", 30), ("/products", 18), ("/products/{id}", 24), ("/search?q={word}", 12), ("/cart", 7), ("/checkout", 3),
    ("/api/v1/items/{id}", 20), ("/static/app.js", 14), ("/static/style.css", 14), ("/favicon.ico", 6), ("/wp-login.php", 1),
)  # fmt: skip
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "curl/8.14.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
)
_WORDS = ("kettle", "lamp", "chair", "garden+hose", "caf%C3%A9", "desk")


def access_log(*, day: datetime, count: int, seed: int) -> Iterator[str]:
    """Lines of a combined access log, in order of time, without newlines.

    Args:
        day: midnight UTC of the day they fall on.
        count: how many.
        seed: the same seed gives the same lines.
    """
    source = random.Random(seed)
    clients = [f"203.0.113.{source.randrange(1, 255)}" for _ in range(40)] + [f"198.51.100.{n}" for n in range(1, 200)]
    paths, weights = zip(*_PATHS, strict=True)
    for second in sorted(_second_of_day(source) for _ in range(count)):
        moment = (day + timedelta(seconds=second)).astimezone(UTC)
        path = source.choices(paths, weights)[0].format(id=source.randrange(1, 5000), word=source.choice(_WORDS))
        bad_hour = 13 <= second / 3600 < 14 and path.startswith("/api")  # an incident to find by SQL
        status = _status(source, path, bad_hour=bad_hour)
        method = "POST" if path in ("/cart", "/checkout", "/wp-login.php") else "GET"
        size = 0 if status == 304 else int(source.lognormvariate(8, 1.4))
        referrer = source.choice(("-", "-", "https://www.example.com/", "https://search.example.org/?q=kettle"))
        yield (
            f'{source.choice(clients)} - - [{moment:%d/%b/%Y:%H:%M:%S +0000}] "{method} {path} HTTP/1.1" {status} {size} '
            f'"{referrer}" "{source.choice(_AGENTS)}"'
        )


def _second_of_day(source: random.Random) -> float:
    """Traffic has a night and a day: few at 4 h, most at 15 h."""
    return min(86399.0, source.triangular(0, 86400, 54000))


def _status(source: random.Random, path: str, *, bad_hour: bool) -> int:
    if path == "/wp-login.php":
        return 404
    if bad_hour and source.random() < 0.35:
        return 503
    return source.choices((200, 304, 302, 404, 500), (86, 7, 3, 3, 1))[0]
