"""Reading server-sent events (WHATWG HTML, section 9.2): only the data is needed here."""

from collections.abc import Iterable, Iterator


def read_events(lines: Iterable[str]) -> Iterator[str]:
    """The data of each event; comments (keep-alive pings) and other fields are passed over."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
