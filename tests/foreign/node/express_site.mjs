// A shop on Express and express-session, with connect-redis, connect-pg-simple or express-mysql-session. It prints its port.

import { RedisStore } from "connect-redis";
import connectPg from "connect-pg-simple";
import express from "express";
import connectMysql from "express-mysql-session";
import session from "express-session";
import { createClient } from "redis";

async function redis(url) {
  const client = createClient({ url: url.href });
  await client.connect();
  return new RedisStore({ client });
}

const STORES = {
  "redis:": redis,
  "postgresql:": (url) => new (connectPg(session))({ conString: url.href, createTableIfMissing: true }),
  "mysql:": async (url) => {
    const place = { host: url.hostname, port: Number(url.port), user: url.username, database: url.pathname.slice(1) };
    const store = new (connectMysql(session))(place);
    await store.onReady();
    return store;
  },
};

const url = new URL(process.env.STORE);
const store = await STORES[url.protocol](url);
const cookie = process.env.MAX_AGE ? { maxAge: Number(process.env.MAX_AGE) } : {};

const app = express();
app.use(session({ store, secret: process.env.SECRET, resave: false, saveUninitialized: false, cookie }));

app.get("/login/:user", (request, response, next) => {
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.user = request.params.user;
    response.send("done");
  });
});
app.get("/add/:item", (request, response) => {
  request.session.cart = [...(request.session.cart ?? []), request.params.item];
  response.send("done");
});
app.get("/whoami", (request, response) => response.send(request.session.user ?? "nobody"));
app.get("/cart", (request, response) => response.send((request.session.cart ?? []).join(",")));
app.get("/logout", (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.send("done")));
});

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit());
