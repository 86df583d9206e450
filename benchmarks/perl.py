"""A Session::Storage::Secure cookie in Python against the Perl module itself: the same payload, one interleaved run.

    python benchmarks/perl.py

Perl runs in a process of its own and times itself; rounds of both take turns. `measure()` returns the median times in
microseconds. "read" is a cookie of Perl's that was never seen before, by both the same one, and "read own" one of
hardtack's; "read again" is the one that a browser sends with every request until its session changes: Perl has no
difference between them. `make speedups` compiles the reader; the first line says which one was measured.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from hardtack.foreign.perl import documents, sereal
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.protocols import Context
from hardtack.record import Record

SECRET = "benchmark secret of at least 32 characters"
PAYLOADS = Path(__file__).parent / "payloads.json"
ROUNDS = 40
KINDS = ("perl write", "perl read", "write", "read", "read own", "read again")
COOKIES = 200

PERL = r"""
use strict; use warnings; use JSON::PP; use Session::Storage::Secure; use Time::HiRes 'time';
$| = 1;
my ( $file, $name, $secret, $count ) = @ARGV;
sub plain {    # Sereal takes Perl's own booleans, not the objects that a JSON module makes
    my ($value) = @_;
    return { map { $_ => plain( $value->{$_} ) } keys %$value } if ref $value eq 'HASH';
    return [ map { plain($_) } @$value ] if ref $value eq 'ARRAY';
    return ref $value ? !!$value : $value;
}
my $data = plain( decode_json( do { local $/; open my $in, '<', $file or die $!; <$in> } )->{$name} );
my $store = Session::Storage::Secure->new( secret_key => $secret, default_duration => 3600 );
while (<STDIN>) {
    my $start = time;
    my @cookies = map { $store->encode($data) } 1 .. $count;
    my $written = time;
    $store->decode($_) for @cookies;
    my $read = time;
    print encode_json( [ ( $written - $start ) / $count, ( $read - $written ) / $count, \@cookies ] ), "\n";
}
"""


def timed(function: Callable[[Any], Any], arguments: list[Any]) -> tuple[float, Any]:
    """Microseconds for each call, and what the last one returned.

    The others are let go at once, as a request does, and as Perl's loop: 200 sessions that are kept would be a third of
    the time, which Python's garbage collector takes to look at them again and again.
    """
    start = time.perf_counter()
    for argument in arguments:
        result = function(argument)
    return (time.perf_counter() - start) / len(arguments) * 1e6, result


def measure(name: str) -> dict[str, float]:
    """Median microseconds: `perl write`, `perl read`, `write`, `read`, `read own` and `read again`."""
    data: dict[str, Any] = json.loads(PAYLOADS.read_text("utf-8"))[name]
    command = ["perl", "-e", PERL, str(PAYLOADS), name, SECRET, str(COOKIES)]
    perl = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert perl.stdin is not None
    assert perl.stdout is not None
    now = int(time.time())
    context = Context("session", "", now)
    records = [Record(bytes(16), now, None, now, None, {"expires": now + 3600}, data)] * COOKIES
    cookie = SessionStorageSecureCookie(SECRET)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        perl.stdin.write("\n")
        perl.stdin.flush()
        written, read, theirs = json.loads(perl.stdout.readline())
        times["perl write"].append(written * 1e6)
        times["perl read"].append(read * 1e6)
        micros, _ = timed(lambda record: cookie.seal(record, context), records)
        times["write"].append(micros)
        ours = [cookie.seal(record, context)["session"] for record in records]
        for kind, values in {"read": theirs, "read own": ours, "read again": ours}.items():
            requests = [{"session": [value]} for value in values]
            micros, opened = timed(lambda request: cookie.open(request, context), requests)
            times[kind].append(micros)
            assert opened.data == data
    perl.stdin.close()
    perl.wait()
    return {kind: median(taken) for kind, taken in times.items()}


def main() -> None:
    print(f"Sereal is read by {'Python' if documents.read is sereal.read else 'hardtack-speedups'}.")
    for name in ("S", "M", "L"):
        taken = measure(name)
        print(f"payload {name}: " + ", ".join(f"{kind} {micros:.1f} µs" for kind, micros in taken.items()))
        for kind, against in (("write", "perl write"), *((each, "perl read") for each in KINDS[3:])):
            print(f"  {kind}: {taken[against] / taken[kind]:.2f} times as fast as Perl")


if __name__ == "__main__":
    main()
