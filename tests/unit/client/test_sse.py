from whetstone.sse import Events


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
    events = Events()
    assert [told for line in lines if (told := events.take(line)) is not None] == ['{"a": 1}', "first\nsecond"]
