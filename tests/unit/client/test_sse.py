from whetstone.sse import read_events


def test_events_are_read_and_pings_passed_over() -> None:
    lines = [
        ": ping",
        "",
        "event: a",
        "id: 1",
        'data: {"a": 1}',
        "",
        "data: first",
        "data: second",
        "",
        "data: cut off",
    ]
    assert list(read_events(lines)) == ['{"a": 1}', "first\nsecond"]
