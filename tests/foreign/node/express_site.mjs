// A shop on Express, express-session and connect-redis. It prints its port.

import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

const client = createClient({ url: process.env.REDIS_URL });
await client.connect();

const app = express();
app.use(session({ store: new RedisStore({ client }), secret: process.env.SECRET, resave: false, saveUninitialized: false }));

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
