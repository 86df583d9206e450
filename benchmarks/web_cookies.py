"""Reading other systems' cookies in Python, against their own implementations: payload M, one interleaved run.

    python -m benchmarks.web_cookies

Each implementation runs in a process of its own, and times itself; rounds of all take turns. Both read the same cookie,
and derive no key that they can keep: a site derives its keys once. What is not installed is named and left out.
Session::Storage::Secure is measured by `benchmarks.perl`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.express import CookieSessionCookie, KoaSessionCookie
from hardtack.foreign.iron import IronSessionCookie
from hardtack.foreign.laravel import LaravelCookie
from hardtack.foreign.mojolicious import MojoliciousCookie
from hardtack.foreign.rails import RailsCookie
from hardtack.protocols import Context
from hardtack.record import Record

HERE = Path(__file__).parent
NODE_MODULES = HERE.parent / "tests" / "foreign" / "node"
SECRET = "a benchmark secret of forty characters!!"
KEY_BASE = "0123456789abcdef" * 8
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
UNTIL = 1 << 40
ROUNDS = 30
COUNT = 200

# Each program reads a line {"system", "cookies", "count"} and answers the seconds that one reading took on average.
NODE = """
import { createInterface } from "node:readline";
import http from "node:http";
import { Socket } from "node:net";
import Keygrip from "keygrip";
import Cookies from "cookies";
import { unsealData } from "iron-session";
const SECRET = process.argv[2];
const keys = new Keygrip([SECRET]);
function jar(cookies) {
  const request = new http.IncomingMessage(new Socket());
  request.headers.cookie = Object.entries(cookies).map(([k, v]) => `${k}=${v}`).join("; ");
  return new Cookies(request, new http.ServerResponse(request), { keys });
}
const decode = (text) => JSON.parse(Buffer.from(text, "base64").toString("utf8"));
const readers = {
  "cookie-session": async (cookies) => decode(jar(cookies).get("session", { signed: true })),
  "koa-session": async (cookies) => decode(jar(cookies).get("koa.sess", { signed: true })),
  "iron-session": async (cookies) => unsealData(decodeURIComponent(cookies.session), { password: SECRET }),
};
for await (const line of createInterface({ input: process.stdin })) {
  const { system, cookies, count } = JSON.parse(line);
  const read = readers[system];
  const begin = process.hrtime.bigint();
  let data;
  for (let n = 0; n < count; n++) data = await read(cookies);
  const taken = Number(process.hrtime.bigint() - begin) / 1e9 / count;
  console.log(JSON.stringify([taken, data.user_id]));
}
"""

RUBY = r"""
require "json"; require "openssl"; require "action_controller"; require "action_dispatch"
require "active_support/key_generator"; require "active_support/message_encryptor"; require "active_support/message_verifier"
require "active_support/messages/rotation_configuration"
generator = ActiveSupport::CachingKeyGenerator.new(ActiveSupport::KeyGenerator.new(ARGV[0], iterations: 1000))
environment = {
  "action_dispatch.key_generator" => generator, "action_dispatch.secret_key_base" => ARGV[0],
  "action_dispatch.authenticated_encrypted_cookie_salt" => "authenticated encrypted cookie",
  "action_dispatch.encrypted_cookie_salt" => "encrypted cookie",
  "action_dispatch.encrypted_signed_cookie_salt" => "signed encrypted cookie",
  "action_dispatch.signed_cookie_salt" => "signed cookie", "action_dispatch.use_authenticated_cookie_encryption" => true,
  "action_dispatch.use_cookies_with_metadata" => true, "action_dispatch.cookies_serializer" => :json,
  "action_dispatch.cookies_rotations" => ActiveSupport::Messages::RotationConfiguration.new }
$stdin.each_line do |line|
  request = JSON.parse(line)
  value = Rack::Utils.unescape(request["cookies"]["_app_session"])
  data = nil
  begin_ = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  request["count"].times do
    jar = ActionDispatch::Cookies::CookieJar.build(ActionDispatch::Request.new(environment), { "_app_session" => value })
    data = jar.encrypted["_app_session"]
  end
  puts JSON.generate([(Process.clock_gettime(Process::CLOCK_MONOTONIC) - begin_) / request["count"], data["user_id"]])
  $stdout.flush
end
"""

PHP = r"""
require 'Illuminate/Encryption/autoload.php'; require 'Illuminate/Cookie/autoload.php';
require 'Illuminate/Session/autoload.php';
use Illuminate\Cookie\CookieJar; use Illuminate\Cookie\CookieValuePrefix; use Illuminate\Encryption\Encrypter;
use Illuminate\Session\CookieSessionHandler; use Illuminate\Session\Store;
$key = base64_decode(substr($argv[1], 7));
$encrypter = new Encrypter($key, 'aes-256-cbc');
while (($line = fgets(STDIN)) !== false) {
    $request = json_decode($line, true);
    $begin = hrtime(true);
    for ($n = 0; $n < $request['count']; $n++) {
        $texts = [];
        foreach ($request['cookies'] as $name => $value) {
            $text = $encrypter->decrypt(urldecode($value), false);
            if (strpos($text, CookieValuePrefix::create($name, $key)) === 0) $texts[$name] = CookieValuePrefix::remove($text);
        }
        $handler = new CookieSessionHandler(new CookieJar, 120);
        $handler->setRequest(new Symfony\Component\HttpFoundation\Request([], [], [], $texts));
        $store = new Store('laravel_session', $handler, $texts['laravel_session']);
        $store->start();
        $id = $store->get('user_id');
    }
    echo json_encode([(hrtime(true) - $begin) / 1e9 / $request['count'], $id]), "\n";
}
"""

PERL = r"""
use strict; use warnings; use Mojolicious; use Mojolicious::Controller; use Mojo::JSON qw(decode_json encode_json);
use Time::HiRes 'time';
$| = 1;
my $app = Mojolicious->new; $app->secrets( [ $ARGV[0] ] );
while (<STDIN>) {
    my $request = decode_json($_);
    my ( $id, $begin ) = ( undef, time );
    for ( 1 .. $request->{count} ) {
        my $c = $app->build_controller;
        $c->req->headers->cookie("mojolicious=$request->{cookies}{mojolicious}");
        $id = $c->session->{user_id};
    }
    print encode_json( [ ( time - $begin ) / $request->{count}, $id ] ), "\n";
}
"""

PROGRAMS: dict[str, list[str]] = {
    "node": ["node", "--input-type=module", "-e", NODE, "-", SECRET],
    "ruby": ["ruby", "-e", RUBY, KEY_BASE],
    "php": ["php", "-r", PHP, APP_KEY],
    "perl": ["perl", "-e", PERL, SECRET],
}

SYSTEMS: dict[str, tuple[str, Callable[[], ForeignCookie]]] = {
    "cookie-session": ("node", lambda: CookieSessionCookie(SECRET, until=UNTIL)),
    "koa-session": ("node", lambda: KoaSessionCookie(SECRET)),
    "iron-session": ("node", lambda: IronSessionCookie(SECRET)),
    "rails": ("ruby", lambda: RailsCookie(KEY_BASE, digest="sha1", until=UNTIL)),
    "laravel": ("php", lambda: LaravelCookie(APP_KEY)),
    "mojolicious": ("perl", lambda: MojoliciousCookie(SECRET)),
}


class Theirs:
    """An implementation's process."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=NODE_MODULES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def read(self, system: str, cookies: dict[str, str]) -> tuple[float, Any]:
        """Seconds that one reading took, and the user's id; raises `OSError` or `ValueError` where it does not run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"system": system, "cookies": cookies, "count": COUNT}) + "\n")
        self._process.stdin.flush()
        taken, identifier = json.loads(self._process.stdout.readline())
        return taken, identifier

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def measure(system: str) -> dict[str, float]:
    """Median microseconds that reading M takes: `theirs` and `ours`. Raises `OSError` or `ValueError` where it cannot."""
    program, make = SYSTEMS[system]
    data: dict[str, Any] = json.loads((HERE / "payloads.json").read_text("utf-8"))["M"]
    cookie = make()
    now = int(time.time())
    context = Context(cookie.cookie_name, "", now)
    cookies = cookie.seal(Record(bytes(16), now, None, now, None, {}, data), context)
    request = {name: [value] for name, value in cookies.items()}
    theirs = Theirs(PROGRAMS[program])
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    try:
        for _ in range(ROUNDS):
            taken, identifier = theirs.read(system, cookies)
            assert identifier == data["user_id"], system
            times["theirs"].append(taken * 1e6)
            begin = time.perf_counter()
            for _ in range(COUNT):
                record = cookie.open(request, context)
            times["ours"].append((time.perf_counter() - begin) / COUNT * 1e6)
            assert record.data["user_id"] == data["user_id"]
    finally:
        theirs.close()
    return {kind: median(taken) for kind, taken in times.items()}


def main() -> None:
    for system, (program, _) in SYSTEMS.items():
        try:
            taken = measure(system)
        except (OSError, ValueError):
            print(f"{system}: {program}, or its library, is not installed")
            continue
        ratio = taken["ours"] / taken["theirs"]
        print(f"{system}: {program} {taken['theirs']:.1f} µs, hardtack {taken['ours']:.1f} µs: {ratio:.2f} of its time")


if __name__ == "__main__":
    main()
