"""Marks: sealed, bound to one object, and never trusted unopened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_operator.api.secret import SecretText
from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.state import Claimant, Mark, RoleParameter, UnverifiedMark
from pg_operator.postgres.marks import Keyring

DATA = {"current": b"k2\n", "k1": b"1" * 32, "k2": b"2" * 32}
KEYRING = Keyring.from_secret(DATA)
CLAIMANT = Claimant("owner", "DatabaseRole", "team-a", "uid-a", "reader")
ON = "role:reader"

names = st.text(max_size=12)
wildcards = st.builds(
    Securable,
    st.just("table"),
    names,
    names,
    st.just("*"),
    without=st.lists(names, max_size=3).map(tuple),
)
securables = st.one_of(
    wildcards,
    st.builds(Securable, st.just("database"), names),
    st.builds(Securable, st.just("schema"), names, names),
    st.builds(Securable, st.sampled_from(("table", "sequence")), names, names, names),
    st.builds(Securable, st.just("column"), names, names, names, names),
    st.builds(Securable, st.just("table"), names, names, st.just("*"), creator=names),
)
marks = st.builds(
    Mark,
    claimant=st.builds(
        Claimant,
        names,
        st.sampled_from(("Database", "DatabaseRole")),
        names,
        names,
        names,
    ),
    state=st.sampled_from(("managed", "released")),
    scope=st.frozensets(
        st.builds(
            Grant,
            securables,
            st.sampled_from(("SELECT", "USAGE", "CREATE")),
            st.booleans(),
        )
    ),
    memberships=st.frozensets(names),
    attributes=st.frozensets(names),
    role_parameters=st.frozensets(st.builds(RoleParameter, names, names)),
    parameters=st.frozensets(names, max_size=3),
    extensions=st.frozensets(names, max_size=3),
    adopted=st.booleans(),
    password=st.none() | st.text(min_size=1, max_size=12),
    verifier=st.none() | st.text(min_size=1, max_size=12),
    foreign_comment=st.none() | st.text(min_size=1, max_size=12),
)


@given(mark=marks)
def test_sealed_mark_opens_as_it_was(mark: Mark) -> None:
    assert KEYRING.open_comment(KEYRING.seal(mark, on=ON), on=ON) == mark


def test_comment_says_whose_it_is_and_nothing_else() -> None:
    comment = KEYRING.seal(Mark(CLAIMANT), on=ON)
    assert comment.startswith("managed by pg-operator; do not edit this comment. v1 k2")
    assert "team-a" not in comment


def test_mark_sealed_with_an_older_key_still_opens() -> None:
    older = Keyring.from_secret({**DATA, "current": b"k1"})
    comment = older.seal(Mark(CLAIMANT), on=ON)
    assert KEYRING.open_comment(comment, on=ON) == Mark(CLAIMANT)


@pytest.mark.parametrize("comment", [None, "", "team b", "managed by team b"])
def test_other_comments_are_no_marks(comment: str | None) -> None:
    assert KEYRING.open_comment(comment, on=ON) is None


def test_mark_of_another_object_is_unverified() -> None:
    comment = KEYRING.seal(Mark(CLAIMANT), on=ON)
    for on in ("role:other", "database:reader"):
        assert KEYRING.open_comment(comment, on=on) == UnverifiedMark()


def test_mark_of_an_unknown_key_is_unverified() -> None:
    other = Keyring.from_secret(Keyring.generate())
    comment = other.seal(Mark(CLAIMANT), on=ON)
    assert KEYRING.open_comment(comment, on=ON) == UnverifiedMark()


def test_mark_of_another_key_by_the_same_name_is_unverified() -> None:
    other = Keyring.from_secret({"current": b"k2", "k2": b"3" * 32})
    comment = other.seal(Mark(CLAIMANT), on=ON)
    assert KEYRING.open_comment(comment, on=ON) == UnverifiedMark()


@given(data=st.data())
def test_changed_mark_is_unverified(data: st.DataObject) -> None:
    comment = KEYRING.seal(Mark(CLAIMANT), on=ON)
    body = comment.rindex(" ") + 1
    at = data.draw(st.integers(body, len(comment) - 4))
    changed = comment[:at] + ("A" if comment[at] != "A" else "B") + comment[at + 1 :]
    assert KEYRING.open_comment(changed, on=ON) == UnverifiedMark()


@given(rest=st.text())
def test_anything_after_our_words_is_a_mark_or_unverified(rest: str) -> None:
    comment = f"managed by pg-operator; do not edit this comment.{rest}"
    assert KEYRING.open_comment(comment, on=ON) == UnverifiedMark()


def test_keys_are_in_no_text_of_the_keyring() -> None:
    assert "2222" not in f"{KEYRING!r}{KEYRING}"


def test_fingerprint_depends_on_password_role_and_key() -> None:
    other = Keyring.from_secret({"current": b"k1", "k1": b"1" * 32})
    fingerprints = {
        KEYRING.fingerprint(SecretText("a"), role="r"),
        KEYRING.fingerprint(SecretText("b"), role="r"),
        KEYRING.fingerprint(SecretText("a"), role="s"),
        other.fingerprint(SecretText("a"), role="r"),
    }
    assert len(fingerprints) == 4
    assert KEYRING.fingerprint(SecretText("a"), role="r") in fingerprints


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"current": b"k1"},
        {"k1": b"1" * 32},
        {"current": b"current"},
        {"current": b"k1", "k1": b"short-SECRET"},
        {"current": b"\xff", "k1": b"1" * 32},
    ],
)
def test_unusable_keys_are_refused_without_showing_one(data: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="key") as raised:
        Keyring.from_secret(data)
    assert "SECRET" not in str(raised.value)


def test_mark_of_a_large_scope_stays_small() -> None:
    scope = frozenset(
        Grant(Securable("table", "orders", "app", f"table_{number}"), word)
        for number in range(500)
        for word in ("SELECT", "INSERT")
    )
    assert len(KEYRING.seal(Mark(CLAIMANT, scope=scope), on=ON)) < 10_000
