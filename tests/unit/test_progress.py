"""What a log tells of a long step."""

from io import StringIO

from rich.console import Console

from pipelines.progress import told


def test_a_log_gets_one_line_a_stage_however_often_it_is_told() -> None:
    page = StringIO()

    with told(Console(file=page), "loading") as say:
        for done in range(100):
            say(f"reading items: {done} of 100")
        say("fitting the head")

    assert [line.split(" s  ")[1] for line in page.getvalue().splitlines()] == [
        "loading",
        "reading items",
        "fitting the head",
    ]
