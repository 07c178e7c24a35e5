"""Ctrl-C, SIGTERM, SIGHUP: the command cleans up, and says what is enforced now."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psycopg
import pytest

from incident_lib.database import read_catalog
from incident_lib.migration.executor import apply
from incident_lib.model.change import PURPOSE
from tests.support.command import HEARING, unmeasured
from tests.support.sessions import holding_up, wait_until_waiting

BUILD = PURPOSE.build_name
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextmanager
def running(environment, command):
    """`incident apply` or `incident rollback` in a process of its own."""
    words = [sys.executable, "-c", HEARING, command, "--env", "staging", "--confirm", "staging"]
    variables = unmeasured({**os.environ, "INCIDENT_STAGING_URL": environment.address})
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process):
    """Wait for its end: exit code and message, without ages."""
    _, err = process.communicate(timeout=30)
    return process.returncode, re.sub(r"(?s).*(incident: )", r"\1", err)


@contextmanager
def old_reader(environment):
    """A transaction that has read the table and holds an old snapshot: builds and drops wait for it."""
    with psycopg.connect(environment.address) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM public.q_threads")
        yield
        connection.rollback()


def wait_until_built(environment):
    """Wait until the new index is enforced, and its build waits for old snapshots."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        deadline = time.monotonic() + 20
        while not any(index.name == BUILD and index.enforced for index in read_catalog(connection).indexes):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    wait_until_waiting(environment)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_an_interrupted_apply_says_what_is_enforced(incident, number):
    """An interrupted apply cleans up its build, names the enforced index and the command that continues."""
    with holding_up(incident, "drop"), running(incident, "apply") as process:  # a reader: only the drop waits for it
        wait_until_waiting(incident)
        process.send_signal(number)
        assert end(process) == (
            130,
            "incident: Interrupted.\n"
            "  why:  Enforced now: idx_q_threads_family_unique (fixed, valid), idx_q_threads_family_unique_retired "
            "(original, invalid, still enforced); chats are rejected beside runs. The index "
            "idx_q_threads_family_unique_retired is left behind: invalid, still enforced.\n"
            "  next: `incident apply --env staging --confirm staging` continues.\n",
        )


def test_an_interrupted_rollback_that_can_clean_up_blocks_no_chat(incident):
    """An interrupted rollback drops the index that it was building: chats are accepted, as before."""
    apply(incident, confirm="staging")
    with holding_up(incident, "build"), running(incident, "rollback") as process:
        wait_until_waiting(incident)
        process.send_signal(signal.SIGINT)
        code, message = end(process)
    assert code == 130
    assert "chats are accepted beside runs" in message
    assert "next: `incident rollback --env staging --confirm staging` starts again." in message


def test_an_interrupted_rollback_says_that_chats_are_rejected_again(incident):
    """Where its cleanup has to wait, an interrupted rollback says that chats are rejected, and what ends that."""
    apply(incident, confirm="staging")
    with old_reader(incident), running(incident, "rollback") as process:
        wait_until_built(incident)
        process.send_signal(signal.SIGINT)
        code, message = end(process)
    assert code == 130
    assert "(original, invalid, still enforced); chats are rejected beside runs" in message
    assert "next: `incident apply --env staging --confirm staging` ends that: chats are accepted again." in message
    apply(incident, confirm="staging")
    with psycopg.connect(incident.address, autocommit=True) as connection:
        assert not read_catalog(connection).blocks


def test_a_second_interruption_leaves_at_once(incident):
    """A second Ctrl-C ends the cleanup, and says which index may be left behind."""
    apply(incident, confirm="staging")
    with old_reader(incident), running(incident, "rollback") as process:
        wait_until_built(incident)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        code, message = end(process)
    assert (code, time.monotonic() - began < 2.5) == (130, True)
    assert message == (
        "incident: Interrupted before the cleanup was done.\n"
        "  why:  The catalog was not read: the index idx_q_threads_family_unique_build may be left behind, and may be "
        "enforced.\n"
        "  next: `incident plan --env staging --rollback` shows what is enforced now, and what is left to do.\n"
    )
