#!/bin/sh
# What a newcomer does: `make demo`, a look at its page, and `make test`. Run by tools/bare.sh in a root of its own.
set -eu
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

setsid make demo PORT="$port" &
demo=$!
stop_demo() { kill -s TERM -- "-$demo" 2>/dev/null || true; }
trap stop_demo EXIT
python3 - "$port" "$demo" <<'END'
import sys
import time
import urllib.request
from pathlib import Path

url, demo = f"http://127.0.0.1:{sys.argv[1]}/", Path("/proc", sys.argv[2], "stat")
for _ in range(600):
    if not demo.exists() or ") Z " in demo.read_text():
        sys.exit("the demo has ended")
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            page = answer.read().decode()
            break
    except OSError:
        time.sleep(1)
else:
    sys.exit("the demo does not answer")
assert answer.status == 200
assert "hardtack" in page.lower(), page[:500]
print(f"the demo answers on {url} with {len(page)} characters", flush=True)
END
stop_demo
wait "$demo" || true
trap - EXIT

make test ARGS="$*"
