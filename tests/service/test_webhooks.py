"""Webhooks: each event is in the outbox once, delivered at least once, signed, and sent where it was meant to go."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import standardwebhooks
from sqlmodel import col, select

import ocore
from api.data.tables import Delivery, Server, ServerStatus, Webhook, now
from api.errors import SetupError
from api.parts import ENCRYPTION, Parts, keyring
from api.schemas.webhooks import EVENTS
from api.security.keyring import Ring
from api.security.tokens import VIEW
from api.work.claims import claim
from api.work.outcome import Done, finish
from api.work.owner import new_owner
from api.work.posting import signature
from api.work.recorder import RowRecorder
from api.work.upkeep import due
from api.work.upkeep.deliverer import Deliverer
from api.work.upkeep.tidier import tidy
from ocore.cli import main
from tests.service.problems import pointers, problem
from tests.service.receivers import DRIP, FLOOD, HANG_UP, SILENCE, certificate, receiving, wait_until_due
from tests.service.support import opened, wait_for

if TYPE_CHECKING:
    from api.settings import Settings
    from tests.service.support import Service

# What is alike on every storage is tried on one.
SQLITE = pytest.mark.parametrize("storage", ["sqlite"])
PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
HOOK = "https://hooks.example.org/in"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings with a short schedule, that allow receivers on this machine."""
    quick = {"webhook_schedule": [0.02] * 6, "webhook_timeout": 5, "webhook_allow_loopback": True}
    return settings.model_copy(update=quick)


def hook(service: Service, url: str, organization: str = "one", **fields: Any) -> dict[str, Any]:
    """Make a webhook."""
    token = service.token(organization=organization)
    made = service.call("POST", "/api/webhooks", token=token, json={"url": url} | fields)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def turn(service: Service, status: ServerStatus = ServerStatus.ACTIVE, server: str = "") -> str:
    """Have a server change its state; return its id."""
    server = server or service.create()["id"]
    service.set(server, status=status)
    return server


def deliver(service: Service, rounds: int = 1, seconds: float = 5) -> None:
    """Send what is due, some times, with so many seconds for an attempt."""
    settings = service.settings.model_copy(update={"webhook_timeout": seconds})
    deliverer = Deliverer(dataclasses.replace(service.parts, settings=settings), OWNER)
    for number in range(rounds):
        if number:
            wait_until_due()
        deliverer.deliver()


OWNER = new_owner()


def deliveries(service: Service, webhook: str) -> list[dict[str, Any]]:
    """Return a webhook's deliveries, newest first."""
    answer = service.call("GET", f"/api/webhooks/{webhook}/deliveries")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


def test_an_endpoint_that_fails_five_times_is_delivered_to_once(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each attempt has the same id and body, and a signature that the standard's own library believes."""
    with receiving(500, HANG_UP, 503, 302, 404) as receiver:
        made = hook(service, receiver.url)
        server = turn(service)
        deliver(service, 7, seconds=10)
    [delivery] = deliveries(service, made["id"])
    checker = standardwebhooks.Webhook(made["secret"])
    believed = [checker.verify(body, headers) for _, headers, body in receiver.got]
    with capsys.disabled():
        print()  # noqa: T201 - for this it is there
        for number, attempt in enumerate(delivery["attempts"]):
            print(f"attempt {number + 1}: {attempt['status']} {attempt['error'] or 'delivered'}")  # noqa: T201
    assert len(receiver.got) == 6
    assert set(receiver.ids) == {delivery["messageId"]}
    assert len({body for _, _, body in receiver.got}) == 1
    assert believed[0]["type"] == "server.active"
    assert believed[0]["data"]["serverId"] == server
    assert {path for path, _, _ in receiver.got} == {"/hook"}
    assert (delivery["state"], delivery["nextAt"]) == ("delivered", None)
    assert [one["status"] for one in delivery["attempts"]] == [500, None, 503, 302, 404, 200]
    assert [bool(one["error"]) for one in delivery["attempts"]] == [True] * 5 + [False]
    assert service.call("GET", f"/api/webhooks/{made['id']}").json()["failingSince"] is None


def test_every_event_reaches_who_wants_it(service: Service) -> None:
    """The five events; nobody hears of others' servers, of what they do not want, or while disabled."""
    with receiving() as receiver:
        all_of_them = hook(service, receiver.url)
        one = hook(service, receiver.url, events=["server.removed"])
        hook(service, receiver.url, organization="two")
        hook(service, receiver.url, enabled=False)
        server = turn(service)
        turn(service, ServerStatus.UNREACHABLE, server)
        turn(service, ServerStatus.ERROR, server)
        _end_with_drift(service, server)
        with service.parts.database.write() as session:
            session.delete(session.exec(select(Server)).one())
        deliver(service, 2)
    bodies = [json.loads(body) for _, _, body in receiver.got]
    # Those of the second webhook are the last one's, with the same id.
    assert sorted(body["type"] for body in bodies) == sorted([*EVENTS, "server.removed"])
    assert len(set(receiver.ids)) == 5
    assert {body["data"]["serverId"] for body in bodies} == {server}
    [drift] = [body["data"] for body in bodies if body["type"] == "drift.found"]
    assert [step["step"] for step in drift["steps"]] == ["docker"]
    assert {body["data"]["status"] for body in bodies if body["type"] == "server.removed"} == {"removed"}
    assert len(deliveries(service, all_of_them["id"])) == 5
    assert [delivery["event"] for delivery in deliveries(service, one["id"])] == ["server.removed"]
    for body in bodies:
        assert datetime.fromisoformat(body["timestamp"]).tzinfo == UTC


def _end_with_drift(service: Service, server: str) -> None:
    """Have a look at a server end that found one step to be due, and then one that found none."""
    service.set_runs(server, state="succeeded")
    for run in (True, False):
        service.call("POST", f"/api/servers/{server}/runs", json={"kind": "drift"})
        taken = claim(service.parts.database, OWNER, service.settings)
        assert taken is not None
        steps = [
            {"step": "connect", "run": True, "reasons": ["validation always runs"]},
            {"step": "docker", "run": run, "reasons": ["it is another one"]},
        ]
        done = Done(result={"steps": steps, "hash": "x"})
        assert finish(service.parts, taken, RowRecorder(service.parts, taken), done, "")


def test_an_event_that_did_not_happen_is_not_told(service: Service) -> None:
    """The outbox is written in the transaction that changes the state: undone with it."""
    made = hook(service, HOOK)
    server = service.create()["id"]

    def change(session: Any) -> None:
        row = session.exec(select(Server).where(Server.id == server)).one()
        row.status = ServerStatus.ERROR
        session.flush()
        raise RuntimeError

    with pytest.raises(RuntimeError), service.parts.database.write() as session:
        change(session)
    assert deliveries(service, made["id"]) == []
    turn(service, server=server)
    assert len(deliveries(service, made["id"])) == 1


@SQLITE
def test_a_delivery_that_was_given_up_can_be_replayed(service: Service) -> None:
    """After the schedule's end it has failed; replayed, it comes with the same id, also if it was delivered before."""
    with receiving(*[500] * 7) as receiver:
        made = hook(service, receiver.url)
        turn(service)
        deliver(service, 9)
        [delivery] = deliveries(service, made["id"])
        assert (delivery["state"], delivery["nextAt"], len(receiver.got)) == ("failed", None, 7)
        at = f"/api/webhooks/{made['id']}/deliveries/{delivery['id']}/replay"
        for count in (8, 9):
            assert service.call("POST", at).json()["state"] == "pending"
            deliver(service)
            [delivery] = deliveries(service, made["id"])
            assert (delivery["state"], len(receiver.got), len(delivery["attempts"])) == ("delivered", count, count)
    assert len(set(receiver.ids)) == 1
    standardwebhooks.Webhook(made["secret"]).verify(receiver.got[-1][2], receiver.got[-1][1])


@SQLITE
def test_attempts_come_after_the_schedule_with_jitter(service: Service) -> None:
    """Each wait is what the schedule says, up to a fifth more; one that is asked for by Retry-After is kept."""
    schedule = service.settings.webhook_schedule
    schedule[:] = [100, 1000, 5000]
    with receiving(500, 500, 500) as receiver:
        made = hook(service, receiver.url)
        turn(service)
        waits = []
        for _ in schedule:
            before = datetime.now(UTC)
            deliver(service)
            [delivery] = deliveries(service, made["id"])
            waits.append((datetime.fromisoformat(delivery["nextAt"]) - before).total_seconds())
            _make_due(service)
    assert all(planned - 1 <= wait <= planned * 1.2 + 5 for planned, wait in zip(schedule, waits, strict=True))
    assert waits[2] != schedule[2]


def _make_due(service: Service) -> None:
    with service.parts.database.write() as session:
        for row in session.exec(select(Delivery)).all():
            row.next_at = now() - timedelta(seconds=1)
            session.add(row)


@SQLITE
@pytest.mark.parametrize("why", ["gone", "too long"])
def test_an_endpoint_that_is_hopeless_is_disabled(service: Service, why: str) -> None:
    """At once by 410, or when nothing was delivered for days; what waits fails, the log says so, and PUT enables it."""
    with receiving(410 if why == "gone" else 500) as receiver:
        made = hook(service, receiver.url)
        server = turn(service)
        turn(service, ServerStatus.ERROR, server)
        if why != "gone":
            with service.parts.database.write() as session:
                row = session.exec(select(Webhook)).one()
                row.failing_since = now() - timedelta(days=service.settings.webhook_disable_days, minutes=1)
                session.add(row)
        with service.parts.database.write() as session:
            later = session.exec(select(Delivery).order_by(col(Delivery.id).desc())).all()[0]
            later.next_at = now() + timedelta(hours=1)
            session.add(later)
        deliver(service)
        at = f"/api/webhooks/{made['id']}"
        found = service.call("GET", at).json()
        assert found["enabled"] is False
        assert ("410" in found["disabledReason"]) == (why == "gone")
        assert {one["state"] for one in deliveries(service, made["id"])} == {"failed"}
        entry = service.call("GET", "/api/audit?action=webhook.disable").json()["entries"][0]
        assert (entry["actor"]["kind"], entry["object"]["id"]) == ("service", made["id"])
        turn(service, ServerStatus.ACTIVE, server)
        [waiting, *_] = deliveries(service, made["id"])
        problem(service.call("POST", f"{at}/deliveries/{waiting['id']}/replay"), 409, "webhook_disabled")
        found = service.call("PUT", at, json={"enabled": True}).json()
        assert (found["enabled"], found["disabledReason"], found["failingSince"]) == (True, "", None)
        assert service.call("POST", f"{at}/deliveries/{waiting['id']}/replay").status_code == 202
        deliver(service)
        assert deliveries(service, made["id"])[0]["state"] == "delivered"


@SQLITE
def test_a_redirect_is_not_followed(service: Service) -> None:
    """Nothing is sent to where it leads, and the log says what to do."""
    with receiving() as other, receiving(307, location=other.url) as receiver:
        made = hook(service, receiver.url)
        turn(service)
        deliver(service)
    assert other.got == []
    assert deliveries(service, made["id"])[0]["attempts"][0]["error"].startswith("It redirects")


@SQLITE
@pytest.mark.parametrize(("deed", "delivered"), [(DRIP, False), (SILENCE, False), (FLOOD, True)])
def test_an_answer_is_bounded(service: Service, deed: str, delivered: bool) -> None:  # noqa: FBT001 - a parameter
    """One that drips ends with the time, one without an end is not read: neither keeps us."""
    with receiving(deed) as receiver:
        made = hook(service, receiver.url)
        turn(service)
        began = time.monotonic()
        deliver(service, seconds=10 if delivered else 1)
        assert time.monotonic() - began < 9
    [attempt] = deliveries(service, made["id"])[0]["attempts"]
    assert (attempt["error"] == "") == delivered
    assert delivered or "no answer within 1 s" in attempt["error"]


@SQLITE
def test_a_slow_endpoint_does_not_hold_up_others(service: Service) -> None:
    """Its many messages take a few places, the others' go out beside them, and also what comes while it is silent."""
    with receiving(*[SILENCE] * 4) as slow, receiving() as quick:
        hook(service, slow.url)
        server = service.create()["id"]
        for _ in range(6):
            turn(service, ServerStatus.ERROR, server)
            turn(service, ServerStatus.ACTIVE, server)
        hook(service, quick.url)
        turn(service, ServerStatus.ERROR, server)
        sending = threading.Thread(target=deliver, args=(service, 1, 8))
        sending.start()
        wait_for(lambda: quick.got, "the first is sent", 6)
        turn(service, ServerStatus.ACTIVE, server)
        wait_for(lambda: len(quick.got) == 2, "the second is sent", 6)
        assert len(slow.got) == 4
        assert sending.is_alive()
        slow.ending.set()
        sending.join()


def waiting(service: Service, webhook: str, count: int) -> None:
    """Have messages wait for a webhook that are due."""
    with service.parts.database.write() as session:
        for number in range(count):
            at = now() - timedelta(seconds=count - number)
            row = Delivery(webhook_id=webhook, message_id=f"msg_{number}", event="server.error", body="{}")
            row.next_at = row.created_at = at
            session.add(row)


def test_nobody_s_messages_wait_for_a_thousand_of_somebody_else_s(service: Service) -> None:
    """Dead endpoints of one organization get half of the places, and another one's first message goes out at once."""
    dead = [hook(service, HOOK, organization="two")["id"] for _ in range(12)]
    for webhook in dead:
        waiting(service, webhook, 90)
    waiting(service, hook(service, HOOK)["id"], 1)
    letters = Deliverer(service.parts, OWNER)._take()  # noqa: SLF001 - what would be sent
    of = [letter.organization for letter in letters]
    assert of.count(service.organization()) == 1
    assert of.count(service.organization("two")) == 8
    assert {letter.webhook for letter in letters} >= set(dead[:1])
    # And beside those on their way there are no more of it.
    waiting(service, hook(service, HOOK)["id"], 6)
    more = Deliverer(service.parts, OWNER)._take(letters)  # noqa: SLF001 - what would be sent
    assert [letter.organization for letter in more] == [service.organization()] * 4


def test_two_dead_webhooks_do_not_keep_their_owner_s_third_one_waiting(service: Service) -> None:
    """The place that becomes free is for whom nothing is on its way, however old the others' messages are."""
    dead = [hook(service, HOOK)["id"] for _ in range(2)]
    for webhook in dead:
        waiting(service, webhook, 20)
    letters = Deliverer(service.parts, OWNER)._take()  # noqa: SLF001 - what would be sent
    assert [letter.webhook for letter in letters].count(dead[0]) == 4
    third = hook(service, HOOK)["id"]
    waiting(service, third, 2)
    [next_one] = Deliverer(service.parts, OWNER)._take(letters[:-1])  # noqa: SLF001 - what would be sent
    assert next_one.webhook == third


def test_what_waits_for_a_webhook_is_bounded(service: Service) -> None:
    """The oldest fail where there are more, and can be replayed."""
    made = hook(service, HOOK)
    waiting(service, made["id"], 7)
    parts = dataclasses.replace(service.parts, settings=service.settings.model_copy(update={"webhook_waiting": 5}))
    Deliverer(parts, OWNER)._take()  # noqa: SLF001 - what would be sent
    found = deliveries(service, made["id"])
    assert [one["state"] for one in found] == ["pending"] * 5 + ["failed"] * 2
    assert [one["nextAt"] for one in found[5:]] == [None, None]
    assert service.call("POST", f"/api/webhooks/{made['id']}/deliveries/{found[-1]['id']}/replay").status_code == 202


def test_what_is_let_go_after_it_was_chosen_is_not_sent(service: Service) -> None:
    """Its webhook was disabled in that moment; it has no next attempt."""
    made = hook(service, HOOK)
    turn(service)
    with service.parts.database.read() as session:
        chosen = due.chosen(session, now(), ())
    assert len(chosen) == 1
    service.call("PUT", f"/api/webhooks/{made['id']}", json={"enabled": False})
    with service.parts.database.write() as session:
        assert due.locked(session, chosen, now()) == []
    [delivery] = deliveries(service, made["id"])
    assert (delivery["state"], delivery["nextAt"]) == ("failed", None)


@SQLITE
def test_a_secret_that_does_not_open_is_an_attempt(service: Service) -> None:
    """It is told and tried again after the schedule, instead of being looked at for ever."""
    made = hook(service, HOOK)
    with service.parts.database.write() as session:
        row = session.exec(select(Webhook)).one()
        row.sealed_secret = b"x" + row.sealed_secret[1:]
        session.add(row)
    turn(service)
    deliver(service)
    [attempt] = deliveries(service, made["id"])[0]["attempts"]
    assert "secret cannot be opened" in attempt["error"]
    deliver(service, len(service.settings.webhook_schedule) + 2)
    assert deliveries(service, made["id"])[0]["state"] == "failed"


# --- where to ---------------------------------------------------------------------------------------------------------


REFUSED = [
    "http://hooks.example.org/",
    "ftp://hooks.example.org/",
    "https://",
    "https://user@hooks.example.org/",
    "https://:secret@hooks.example.org/",
    "https://hooks.example.org/#x",
    "https://hooks.example.org:0/",
    "https://hooks.example.org:99999/",
    "https://hooks.example.org/ x",
    "https://hooks.example.org\\@192.0.2.1/",
    "https://hööks.example.org/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest",
    "https://[fe80::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://224.0.0.1/",
    "https://0.0.0.0/",
    "http://192.0.2.1/",
    "",
    "https://hooks.example.org/" + "x" * 2000,
]


@pytest.mark.promise("A8")
@SQLITE
def test_an_address_that_is_not_allowed_is_refused(service: Service) -> None:
    """When it is given, at creation and change, with the field's name."""
    made = hook(service, HOOK)
    for url in REFUSED:
        assert pointers(service.call("POST", "/api/webhooks", json={"url": url})) == ["/url"], url
        assert pointers(service.call("PUT", f"/api/webhooks/{made['id']}", json={"url": url})) == ["/url"], url
    assert service.call("GET", f"/api/webhooks/{made['id']}").json()["url"] == HOOK


@pytest.mark.promise("A8")
@SQLITE
def test_this_machine_is_refused_unless_a_setting_allows_it(service: Service) -> None:
    """By its literal when it is given, by a name when it is looked up: nothing is sent."""
    strict = service.settings.model_copy(update={"webhook_allow_loopback": False})
    with receiving() as receiver, opened(strict) as other:
        port = receiver.url.rpartition(":")[2]
        for url in (receiver.url, f"https://127.0.0.1:{port}", f"https://[::1]:{port}"):
            assert pointers(other.call("POST", "/api/webhooks", json={"url": url}, token=service.token())) == ["/url"]
        made = hook(service, f"https://localhost:{port}")
        plain = hook(service, receiver.url)
        turn(service)
        Deliverer(other.parts, OWNER).deliver()
    assert receiver.got == []
    assert "loopback" in deliveries(service, made["id"])[0]["attempts"][0]["error"]
    assert "https://" in deliveries(service, plain["id"])[0]["attempts"][0]["error"]


@SQLITE
def test_tls_is_checked_against_the_name(service: Service, tmp_path: Path) -> None:
    """Sent to the checked address under its name; another name, or an authority that nobody knows, gets nothing."""
    for names, trusted, words in (
        (["localhost"], True, ""),
        (["elsewhere.example"], True, "ertificate"),
        (["localhost"], False, "ertificate"),
    ):
        context, authority = certificate(tmp_path, names)
        settings = service.settings.model_copy(update={"webhook_ca_file": str(authority) if trusted else ""})
        with receiving(context=context) as receiver, opened(settings) as other:
            made = hook(service, receiver.url)
            turn(service)
            Deliverer(other.parts, OWNER).deliver()
            [attempt] = deliveries(service, made["id"])[0]["attempts"]
            assert (words in attempt["error"], bool(attempt["error"])) == (True, bool(words)), attempt
            assert len(receiver.got) == (0 if words else 1)
            if not words:
                assert receiver.got[0][1]["host"] == receiver.url.split("/")[2]
        service.call("DELETE", f"/api/webhooks/{made['id']}")


# --- what is lost, and what is kept -----------------------------------------------------------------------------------


def test_what_a_dead_process_took_is_sent_by_another(service: Service) -> None:
    """It is left alone for as long as an attempt may take; who does not lead sends nothing."""
    with receiving() as receiver:
        made = hook(service, receiver.url)
        turn(service)
        assert len(Deliverer(service.parts, OWNER)._take()) == 1  # noqa: SLF001 - and dies
        deliver(service)
        assert receiver.got == []
        _make_due(service)
        deliver(service)
        assert len(receiver.got) == 1
        turn(service, ServerStatus.ERROR, service.call("GET", "/api/servers").json()["servers"][0]["id"])
        Deliverer(service.parts, "another-machine/1/1/1").deliver()
        assert len(receiver.got) == 1
    assert {one["state"] for one in deliveries(service, made["id"])} == {"delivered", "pending"}


@SQLITE
def test_a_stopped_process_gives_back_what_it_was_sending(service: Service) -> None:
    """It ends at once; the message waits for the next one, and no attempt is counted."""
    patient = service.settings.model_copy(update={"webhook_timeout": 20})
    with receiving(SILENCE) as receiver, opened(patient) as other:
        made = hook(service, receiver.url)
        turn(service)
        deliverer = Deliverer(other.parts, OWNER)
        deliverer.start()
        wait_for(lambda: receiver.got, "it is sending")
        began = time.monotonic()
        deliverer.stop()
        assert time.monotonic() - began < 3
        [delivery] = deliveries(service, made["id"])
        assert (delivery["state"], delivery["attempts"]) == ("pending", [])
        deliver(service)
        assert deliveries(service, made["id"])[0]["state"] == "delivered"
    assert len(set(receiver.ids)) == 1


@SQLITE
def test_a_worker_delivers_by_itself(service: Service) -> None:
    """From a run that ends to the endpoint, with nothing else started."""
    with receiving() as receiver:
        hook(service, receiver.url)
        made = service.create()["id"]
        with service.worker():
            service.until(made, "active")
            wait_for(lambda: receiver.got, "it was sent")
    assert json.loads(receiver.got[0][2])["data"]["status"] == "active"


@SQLITE
def test_a_secret_is_shown_once_and_sealed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no other answer and not in the database; it moves to a new key, and no start goes without its key."""
    made = hook(service, HOOK)
    assert made["secret"].startswith("whsec_")
    secret = made.pop("secret")
    at = f"/api/webhooks/{made['id']}"
    assert service.call("GET", at).json() == made
    told = [service.call("GET", path).text for path in (at, "/api/webhooks", "/api/audit")]
    told += [service.call("PUT", at, json={"description": "x"}).text]
    assert secret not in "".join(told)
    for file in service.settings.home.glob("ocore.db*"):
        assert secret.removeprefix("whsec_").encode() not in file.read_bytes()

    monkeypatch.setenv("OCORE_HOME", str(service.settings.home))
    assert main(["keys", "rotate", ENCRYPTION]) == 0
    assert main(["keys", "drop", ENCRYPTION]) == 0
    turn(service)
    [letter] = Deliverer(service.parts, OWNER)._take()  # noqa: SLF001 - what would be sent
    assert letter.secret == secret
    keyring(service.settings, ENCRYPTION).file.write_text(Ring.new().to_json())
    with pytest.raises(SetupError, match="2 stored secret"):
        Parts.open(service.settings)


@SQLITE
def test_a_deleted_webhook_is_gone_with_what_waited(service: Service) -> None:
    """Also while it is being sent to."""
    with receiving(SILENCE) as receiver:
        made = hook(service, receiver.url)
        turn(service)
        sending = threading.Thread(target=deliver, args=(service, 1, 1.5))
        sending.start()
        wait_for(lambda: receiver.got, "it is sending")
        assert service.call("DELETE", f"/api/webhooks/{made['id']}").status_code == 204
        sending.join()
    problem(service.call("GET", f"/api/webhooks/{made['id']}/deliveries"), 404, "not_found")
    with service.parts.database.read() as session:
        assert session.exec(select(Delivery)).all() == []


def test_a_run_ends_while_a_webhook_is_deleted(service: Service) -> None:
    """Its end waits for the deletion, and puts no message to the webhook into the outbox."""
    made = hook(service, "https://hooks.example.org/")["id"]
    server = service.create()["id"]
    taken = claim(service.parts.database, new_owner(), service.settings)
    assert taken is not None
    recorder = RowRecorder(service.parts, taken)
    refused = Done(ocore.Failure(ocore.ErrorCode.CONNECT_TIMEOUT, "No answer."))
    with ThreadPoolExecutor(1) as pool:
        with service.parts.database.write() as session:
            session.delete(session.exec(select(Webhook).where(Webhook.id == made)).one())
            session.flush()
            ending = pool.submit(finish, service.parts, taken, recorder, refused, "")
            with pytest.raises(TimeoutError):
                ending.result(0.7)
        assert ending.result(10)
    assert service.runs(server)[0]["state"] == "failed"
    with service.parts.database.read() as session:
        assert session.exec(select(Delivery)).all() == []


@SQLITE
def test_who_may_only_look_does_not_see_where_exactly_it_is_sent(service: Service) -> None:
    """A path may be all that a receiver asks for: it is shown to who manages, and the audit log never has it."""
    made = hook(service, f"{HOOK}/SECRET-1?token=SECRET-2")
    at = f"/api/webhooks/{made['id']}"
    assert service.call("GET", at).json()["url"].endswith("SECRET-2")
    changed = service.call("PUT", at, json={"url": f"{HOOK}/SECRET-3"}).json()
    assert changed["url"].endswith("SECRET-3")
    viewer = service.token([VIEW])
    assert service.call("GET", at, token=viewer).json() == changed | {"url": "https://hooks.example.org/…"}
    assert service.call("GET", "/api/webhooks", token=viewer).json()["webhooks"][0]["url"].endswith(".org/…")
    service.call("DELETE", at)
    told = service.call("GET", "/api/audit")
    assert "SECRET" not in told.text
    entries = [one for one in told.json()["entries"] if one["action"].startswith("webhook.")]
    assert {one["object"]["name"] for one in entries} == {"https://hooks.example.org/…"}
    [update] = [one["changes"] for one in entries if one["action"] == "webhook.update"]
    assert update == [{"field": "url", "before": "https://hooks.example.org/…", "after": "https://hooks.example.org/…"}]


@SQLITE
def test_another_organization_s_are_not_found(service: Service) -> None:
    """Neither the webhook, nor its deliveries; nor a delivery of one's own other webhook."""
    made, other = hook(service, HOOK), hook(service, HOOK)
    turn(service)
    [delivery] = deliveries(service, other["id"])
    problem(service.call("POST", f"/api/webhooks/{made['id']}/deliveries/{delivery['id']}/replay"), 404, "not_found")
    for wrong in ("x", "0", made["id"]):
        problem(service.call("POST", f"/api/webhooks/{other['id']}/deliveries/{wrong}/replay"), 404, "not_found")
    stranger = service.token(organization="two")
    assert service.call("GET", "/api/webhooks", token=stranger).json() == {"webhooks": []}


@SQLITE
def test_there_are_as_many_as_there_may_be(service: Service) -> None:
    """One more is refused, until one is deleted."""
    for _ in range(50):
        made = hook(service, HOOK)
    problem(service.call("POST", "/api/webhooks", json={"url": HOOK}), 409, "limit_reached")
    service.call("DELETE", f"/api/webhooks/{made['id']}")
    hook(service, HOOK, events=["drift.found", "server.active", "drift.found"])
    assert service.call("GET", "/api/webhooks").json()["webhooks"][0]["events"] == ["server.active", "drift.found"]


@SQLITE
def test_pages_lead_through_all_deliveries_and_old_ones_are_let_go(service: Service) -> None:
    """Newest first, each once; after `deliveries_days` they are gone."""
    made = hook(service, HOOK)
    server = turn(service)
    for status in (ServerStatus.ERROR, ServerStatus.ACTIVE):
        turn(service, status, server)
    found, at = [], f"/api/webhooks/{made['id']}/deliveries?limit=2"
    while at:
        answer = service.call("GET", at)
        found += [one["id"] for one in answer.json()["deliveries"]]
        at = answer.links.get("next", {}).get("url", "")
    assert found == [one["id"] for one in deliveries(service, made["id"])]
    assert len(found) == 3
    with service.parts.database.write() as session:
        row = session.get(Delivery, found[1])
        assert row is not None
        row.created_at = now() - timedelta(days=service.settings.deliveries_days, hours=1)
        session.add(row)
    tidy(service.parts)
    assert [one["id"] for one in deliveries(service, made["id"])] == [found[0], found[2]]


def test_the_signature_is_the_standard_library_s() -> None:
    """The same for the same message, also with letters beyond ASCII."""
    secret, body, stamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"a":"ü"}', 1674087231
    moment = datetime.fromtimestamp(stamp, UTC)
    assert signature(secret, "msg_1", stamp, body) == standardwebhooks.Webhook(secret).sign("msg_1", moment, body)


def test_the_events_are_those_of_the_page() -> None:
    """docs/webhooks.md has a row for each, and no other."""
    rows = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(EVENTS)
