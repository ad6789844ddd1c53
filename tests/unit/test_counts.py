"""Counting what a server did by its log."""

from pathlib import Path

from tests.cluster.counts import most_sessions

COMES = (
    "12:00 [7] [unknown]@[unknown] LOG:  connection authorized: user={} database=d\n"
)
GOES = "12:00 [7] {0}@d LOG:  disconnection: session time: 0:00 user={0} database=d\n"


def test_most_sessions_are_those_of_one_login_at_a_time(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text(COMES.format("us"))
    before = log.stat().st_size
    with log.open("a") as stream:
        for line in (COMES, COMES, GOES, COMES, COMES, GOES, GOES, GOES, COMES):
            stream.write(line.format("us"))
            stream.write(COMES.format("them"))
    assert most_sessions(log, user="us", since=before) == 3
    assert most_sessions(log, user="us", since=0) == 4
