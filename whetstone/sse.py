"""Reading server-sent events (WHATWG HTML, section 9.2): only the data is needed here."""


class Events:
    """What the lines so far have told."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def take(self, line: str) -> str | None:
        """The data of the event that this line ends; None for comments (keep-alive pings), other fields, and lines
        within an event.
        """
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and self._data:
            data, self._data = "\n".join(self._data), []
            return data
        return None
