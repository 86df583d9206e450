"""The programs that `benchmarks.web_cookies` measures: other systems' own readers of their cookies, and their process."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NODE_MODULES = Path(__file__).parents[1] / "tests" / "foreign" / "node"
SECRET = "a benchmark secret of forty characters!!"
KEY_BASE = "0123456789abcdef" * 8
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

# Each program reads a line {"system", "cookies", "count"} and answers the seconds that one reading took on average.
NODE = """
import { createInterface } from "node:readline";
import http from "node:http";
import { Socket } from "node:net";
import Keygrip from "keygrip";
import Cookies from "cookies";
import { unsealData } from "iron-session";
import * as authjs from "@auth/core/jwt";
import nextAuth from "next-auth/jwt";
import fastifySession from "@fastify/secure-session";
import iron from "@hapi/iron";
import Fastify from "fastify";
import { unsealSession } from "h3";
import { parseSigned } from "hono/utils/cookie";
import { createCookieSessionStorage } from "react-router";
const SECRET = process.argv[2];
const keys = new Keygrip([SECRET]);
function jar(cookies) {
  const request = new http.IncomingMessage(new Socket());
  request.headers.cookie = Object.entries(cookies).map(([k, v]) => `${k}=${v}`).join("; ");
  return new Cookies(request, new http.ServerResponse(request), { keys });
}
const fastify = Fastify();
await fastify.register(fastifySession, { key: Buffer.alloc(32, 1) });
await fastify.ready();
const storage = createCookieSessionStorage({ cookie: { name: "__session", secrets: [SECRET] } });
const token = (library, name, salt) => (cookies) => library.decode({ token: cookies[name], secret: SECRET, salt });
const decode = (text) => JSON.parse(Buffer.from(text, "base64").toString("utf8"));
const readers = {
  "cookie-session": async (cookies) => decode(jar(cookies).get("session", { signed: true })),
  "koa-session": async (cookies) => decode(jar(cookies).get("koa.sess", { signed: true })),
  "iron-session": async (cookies) => unsealData(decodeURIComponent(cookies.session), { password: SECRET }),
  hapi: async (cookies) => iron.unseal(cookies.sid, SECRET, { ...iron.defaults, ttl: 3_600_000 }),
  h3: async (cookies) => (await unsealSession(null, { password: SECRET, maxAge: 3600 }, cookies.h3)).data,
  fastify: async (cookies) => fastify.decodeSecureSession(decodeURIComponent(cookies.session)).data(),
  authjs: token(authjs, "authjs.session-token", "authjs.session-token"),
  nextauth: token(nextAuth, "next-auth.session-token", ""),
  remix: async (cookies) => (await storage.getSession(`__session=${cookies.__session}`)).data,
  hono: async (cookies) => JSON.parse((await parseSigned(`session=${cookies.session}`, SECRET, "session")).session),
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
require "json"; require "openssl"; require "action_controller"; require "action_dispatch"; require "rack/session/cookie"
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
rack = Rack::Session::Cookie.new(nil, secret: ARGV[0], coder: Rack::Session::Cookie::Base64::JSON.new)
$stdin.each_line do |line|
  request = JSON.parse(line)
  value = Rack::Utils.unescape(request["cookies"].values.first)
  data = nil
  begin_ = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  request["count"].times do
    if request["system"] == "rack"
      asked = Rack::Request.new({ "HTTP_COOKIE" => "rack.session=#{request["cookies"].values.first}" })
      data = rack.send(:unpacked_cookie_data, asked)
      next
    end
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

GO = r"""
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/gorilla/securecookie"
)

type request struct {
	Cookies map[string]string
	Count   int
}

func main() {
	codec := securecookie.New([]byte(os.Args[1]), nil)
	codec.SetSerializer(securecookie.JSONEncoder{})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 1<<16), 1<<24)
	for lines.Scan() {
		var asked request
		if json.Unmarshal(lines.Bytes(), &asked) != nil {
			return
		}
		var found map[string]interface{}
		begin := time.Now()
		for n := 0; n < asked.Count; n++ {
			found = nil
			if codec.Decode("shop", asked.Cookies["shop"], &found) != nil {
				return
			}
		}
		taken := time.Since(begin).Seconds() / float64(asked.Count)
		text, _ := json.Marshal([]interface{}{taken, found["user_id"]})
		fmt.Println(string(text))
	}
}
"""

PROGRAMS: dict[str, list[str]] = {
    "node": ["node", "--input-type=module", "-e", NODE, "-", SECRET],
    "ruby": ["ruby", "-e", RUBY, KEY_BASE],
    "php": ["php", "-r", PHP, APP_KEY],
    "perl": ["perl", "-e", PERL, SECRET],
    "go": ["go", "run", "PROGRAM.go", SECRET],
}


class Theirs:
    """An implementation's process."""

    def __init__(self, program: str) -> None:
        self._directory = tempfile.TemporaryDirectory()
        source = Path(self._directory.name, "read.go")
        source.write_text(GO, "utf-8")
        environment = {
            **os.environ,
            "GOPATH": "/usr/share/gocode",
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOCACHE": f"{self._directory.name}/cache",
        }
        self._process = subprocess.Popen(
            [str(source) if part == "PROGRAM.go" else part for part in PROGRAMS[program]],
            env=environment,
            cwd=NODE_MODULES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def read(self, system: str, cookies: dict[str, str], count: int) -> tuple[float, Any]:
        """Seconds that one reading took, and the user's id; raises `OSError` or `ValueError` where it does not run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"system": system, "cookies": cookies, "count": count}) + "\n")
        self._process.stdin.flush()
        taken, identifier = json.loads(self._process.stdout.readline())
        return taken, identifier

    def close(self) -> None:
        """End it."""
        self._process.communicate()  # each ends with its input
        self._directory.cleanup()
