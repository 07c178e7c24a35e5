"""A DataFrame of 1.2 million blocked families: read as a stream, and said to be large before it takes long."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from incident_lib.database import Environment

pytestmark = pytest.mark.slow
FAMILIES = 150_000
FILL = """
INSERT INTO public.q_threads (root_prompt_row_id, owner_id, purpose, is_active, created_at)
SELECT gen_random_uuid(), md5((n %% 20000)::text)::uuid, 'run', true,
       '2025-09-01'::timestamptz + n * interval '1 second'
FROM generate_series(1, %s) AS n;
"""
CHILD = """
import json, resource, sys, time
from contextlib import redirect_stdout
import incident_lib as il

class Said:
    at, text = 0.0, ""
    def write(self, text):
        self.at, self.text = self.at or time.monotonic(), self.text + text
    def flush(self):
        pass

incident = il.connect("staging", purpose_since="2025-09-22T06:00:00+00:00")
incident.families(limit=10)
peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, began, said = peak(), time.monotonic(), Said()
with redirect_stdout(said):
    frame = incident.families(blocked_for="chat")
json.dump({"rows": len(frame), "frame": int(frame.memory_usage(deep=True).sum()), "grown": peak() - before,
           "said": said.text, "after": said.at - began, "seconds": time.monotonic() - began}, sys.stdout)
"""


def test_a_large_frame(staging: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading takes at most three times the memory of the frame; how large it will be is said within two seconds."""
    with psycopg.connect(staging.address, autocommit=True) as connection:
        connection.execute("ALTER TABLE public.q_threads DROP CONSTRAINT q_threads_root_prompt_row_id_fkey")
        connection.execute(FILL, [FAMILIES])
        connection.execute("ANALYZE public.q_threads")
    ran = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    with capsys.disabled():
        print(f"\n{found}")

    assert found["rows"] == FAMILIES
    assert found["grown"] <= 3 * found["frame"]
    assert re.match(r"Reading about 1[45]\d,\d{3} rows, \d+ MB of memory\.", found["said"])
    assert found["after"] < 2.0
