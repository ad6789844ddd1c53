"""How what is too much for one transaction is taken on in many. No server."""

import pytest

from pg_operator.postgres.errors import OutOfLocks, Transient
from pg_operator.postgres.piecemeal import take_on

ENOUGH = 1000


class Objects:
    """Objects that depend on a role, of a server with room for `room` locks.

    As many as `made` come to them each time that some were taken on.
    """

    def __init__(self, count: int, *, room: int = 1000, made: int = 0) -> None:
        self.count, self.room, self.made = count, room, made
        self.calls = 0

    async def take(self, most: int) -> int:
        """Take on some of them."""
        self.calls += 1
        assert self.calls <= ENOUGH, "it goes on for ever"
        taken = min(most, self.count)
        if taken > self.room:
            raise OutOfLocks("no room")
        self.count += self.made - taken
        return taken


@pytest.mark.parametrize("room", [1, 10, 1000])
async def test_all_is_taken_on_in_pieces_for_which_there_is_room(room: int) -> None:
    objects = Objects(200, room=room)
    await take_on(objects.take, most=128)
    assert objects.count == 0


async def test_server_without_room_for_one_lock_is_told() -> None:
    with pytest.raises(OutOfLocks):
        await take_on(Objects(5, room=0).take, most=256)


@pytest.mark.parametrize("made", [1, 256, 1000])
async def test_role_for_which_objects_are_ever_made_holds_up_nobody(made: int) -> None:
    """Its own sessions are ended, but its members make objects for it, too."""
    objects = Objects(1000, made=made)
    try:
        await take_on(objects.take, most=256)
    except Transient:
        assert made >= 256
    else:
        assert made < 256
