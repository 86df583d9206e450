// One server with the real session libraries of Node.js: PUT /SYSTEM sets the session to the JSON that was sent, and
// GET /SYSTEM answers with the session of the request's cookies, or null. It prints its port.

import http from "node:http";
import * as authjs from "@auth/core/jwt";
import fastifySession from "@fastify/secure-session";
import iron from "@hapi/iron";
import cookieSession from "cookie-session";
import express from "express";
import expressSession from "express-session";
import Fastify from "fastify";
import { H3, useSession } from "h3";
import { toNodeHandler } from "h3/node";
import { Hono } from "hono";
import { getSignedCookie, setSignedCookie } from "hono/cookie";
import { getIronSession } from "iron-session";
import Koa from "koa";
import koaSession from "koa-session";
import nextAuth from "next-auth/jwt";
import { createCookieSessionStorage } from "react-router";

const SECRET = "a secret of forty characters and no less";
const KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index));

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

function cookieOf(request, name) {
  const found = (request.headers.cookie ?? "").split("; ").find((each) => each.startsWith(`${name}=`));
  return found && decodeURIComponent(found.slice(name.length + 1));
}

function answer(response, session, cookies = []) {
  if (cookies.length) response.setHeader("set-cookie", cookies);
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(session ?? null));
}

function replace(session, data) {
  for (const key of Object.keys(session)) delete session[key];
  Object.assign(session, data);
}

// --- Express and Koa

function withExpress(middleware, ready) {
  const app = express();
  app.use(middleware);
  app.put("/", async (request, response) => {
    await ready(request, await body(request));
    response.json(null);
  });
  app.get("/", (request, response) => {
    const { cookie, ...session } = request.session;
    response.json(session);
  });
  return app;
}

const cookieSessions = withExpress(cookieSession({ keys: [SECRET] }), (request, data) => {
  request.session = data;
});
const expressSessions = withExpress(
  expressSession({ secret: SECRET, resave: false, saveUninitialized: false }),
  (request, data) => Object.assign(request.session, data),
);

// Under the names that both libraries had as their defaults once.
const cookieSessionsOnce = withExpress(cookieSession({ name: "express:sess", keys: [SECRET] }), (request, data) => {
  request.session = data;
});

function withKoa(options) {
  const koa = new Koa();
  koa.keys = [SECRET];
  koa.use(koaSession(options, koa));
  koa.use(async (context) => {
    if (context.method === "PUT") context.session = await body(context.req);
    context.body = context.session.toJSON();
  });
  return koa.callback();
}

// --- iron

async function ironSession(request, response) {
  const session = await getIronSession(request, response, { password: SECRET, cookieName: "session" });
  if (request.method === "PUT") {
    replace(session, await body(request));
    await session.save();
  }
  answer(response, session);
}

function hapi(sealing, opening, settings) {
  const options = { ...iron.defaults, ttl: 3_600_000, ...settings };
  return async (request, response) => {
    if (request.method === "PUT") {
      return answer(response, null, [`sid=${await iron.seal(await body(request), sealing, options)}`]);
    }
    answer(response, await iron.unseal(cookieOf(request, "sid"), opening, options));
  };
}

const { encryption, integrity } = iron.defaults;
const CTR = { encryption: { ...encryption, algorithm: "aes-128-ctr" } };
const THRICE = {
  encryption: { ...CTR.encryption, iterations: 3 },
  integrity: { ...integrity, iterations: 3 },
};
const BUFFERS = { encryption: KEY.subarray(0, 16), integrity: KEY };

// Several passwords by their ids: PUT seals with the `id` in the session, or without one, and GET opens with the mapping.
const PASSWORDS = { default: SECRET, second: SECRET.toUpperCase() };

async function hapiWithIds(request, response) {
  const options = { ...iron.defaults, ttl: 3_600_000 };
  if (request.method === "PUT") {
    const { id, ...session } = await body(request);
    const password = id ? { id, secret: PASSWORDS[id] } : SECRET;
    return answer(response, null, [`sid=${await iron.seal(session, password, options)}`]);
  }
  answer(response, await iron.unseal(cookieOf(request, "sid"), PASSWORDS, options));
}

const h3 = new H3();
h3.all("/", async (event) => {
  const session = await useSession(event, { password: SECRET, maxAge: 3600, cookie: { secure: false } });
  if (event.req.method === "PUT") await session.update(await event.req.json());
  return session.data;
});

// --- Fastify

const fastify = Fastify();
await fastify.register(fastifySession, { key: KEY });
fastify.put("/", async (request) => {
  for (const [key, value] of Object.entries(request.body)) request.session.set(key, value);
  return "{}";
});
fastify.get("/", async (request) => JSON.stringify(request.session.data()));
await fastify.ready();

// --- Auth.js 5 and NextAuth 4

function jwt(library, cookieName, salt) {
  return async (request, response) => {
    if (request.method === "PUT") {
      const token = await library.encode({ token: await body(request), secret: SECRET, salt });
      return answer(response, null, [`${cookieName}=${token}`]);
    }
    const cookies = Object.fromEntries((request.headers.cookie ?? "").split("; ").map((each) => each.split("=")));
    const req = { cookies, headers: request.headers };
    answer(response, await library.getToken({ req, cookieName, secret: SECRET, secureCookie: false, salt }));
  };
}

// --- React Router and Hono

const storage = createCookieSessionStorage({ cookie: { name: "__session", secrets: [SECRET] } });

async function reactRouter(request, response) {
  const session = await storage.getSession(request.headers.cookie);
  if (request.method !== "PUT") return answer(response, session.data);
  const { flash, ...data } = await body(request);
  for (const [key, value] of Object.entries(data)) session.set(key, value);
  if (flash) session.flash("notice", flash);
  answer(response, null, [await storage.commitSession(session)]);
}

const hono = new Hono();
hono.put("/", async (context) => {
  await setSignedCookie(context, "session", JSON.stringify(await context.req.json()), SECRET);
  return context.body("null");
});
hono.get("/", async (context) => context.body((await getSignedCookie(context, SECRET, "session")) || "null"));

async function withHono(request, response) {
  const content = request.method === "PUT" ? JSON.stringify(await body(request)) : undefined;
  const result = await hono.request("/", { method: request.method, headers: request.headers, body: content });
  response.setHeader("set-cookie", result.headers.getSetCookie());
  response.end(await result.text());
}

// ---

const SYSTEMS = {
  "cookie-session": cookieSessions,
  "express-session": expressSessions,
  "cookie-session-once": cookieSessionsOnce,
  "koa-session": withKoa({}),
  "koa-session-once": withKoa({ key: "koa:sess" }),
  "iron-session": ironSession,
  hapi: hapi(SECRET, SECRET),
  "hapi-ctr": hapi(SECRET, SECRET, THRICE),
  "hapi-buffer": hapi(KEY, KEY),
  "hapi-buffers": hapi({ id: "k1", ...BUFFERS }, { k1: BUFFERS }, CTR),
  "hapi-ids": hapiWithIds,
  h3: toNodeHandler(h3),
  fastify: (request, response) => fastify.routing(request, response),
  authjs: jwt(authjs, "authjs.session-token", "authjs.session-token"),
  nextauth: jwt(nextAuth, "next-auth.session-token", ""),
  "react-router": reactRouter,
  hono: withHono,
};

const server = http.createServer(async (request, response) => {
  const system = request.url.slice(1);
  request.url = "/";
  try {
    await SYSTEMS[system](request, response);
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume(); // it ends with the tests that started it
