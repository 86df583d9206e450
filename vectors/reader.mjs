// Opens hardtack's tokens with node's own cryptography: written from docs/token-format.md, and from nothing else.
//
// `node reader.mjs v1.json` checks itself against the vectors, and says how many it has opened and refused.
//
// Without an argument it reads {secret, tokens: [{format, token, cookie, purpose}]} as JSON from standard input, and writes a
// list in the same order, of {record} or {refused}. Each value is [type, content] there, such as ["int", "5"] or
// ["dict", [[key, value], …]].
import { deepStrictEqual } from "node:assert/strict";
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const refuse = (reason) => { throw new Error(reason); };
const text = (raw) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
const base64 = (raw) => raw.toString("base64url");
const decode = (encoded) => {
  const raw = Buffer.from(encoded, "base64url");
  return base64(raw) === encoded ? raw : refuse("malformed");
};
const frame = (...texts) => Buffer.concat(texts.map((each) => Buffer.from(each)).flatMap((raw) => {
  return [Buffer.from([raw.length >> 8, raw.length & 255]), raw];
}));

// --- keys and the cipher

const derive = (secret, name, size) => Buffer.from(hkdfSync("sha256", secret, "", `hardtack/1 ${name}`, size));

function subkey(key, prefix) {
  const aes = (block) => createCipheriv("aes-256-ecb", key, null).setAutoPadding(false).update(block);
  const shifted = BigInt("0x" + aes(Buffer.alloc(16)).toString("hex")) << 1n;
  const k1 = BigInt.asUintN(128, shifted >> 128n ? shifted ^ 0x87n : shifted).toString(16).padStart(32, "0");
  const mask = Buffer.from(k1, "hex");
  const half = (counter) => aes(Buffer.concat([Buffer.from([0, counter, 0x58, 0]), prefix]).map((byte, i) => byte ^ mask[i]));
  return Buffer.concat([half(1), half(2)]);
}

function decrypt(key, sealed, aad) {
  const cipher = createDecipheriv("aes-256-gcm", subkey(key, sealed.subarray(0, 12)), sealed.subarray(12, 24));
  cipher.setAAD(aad).setAuthTag(sealed.subarray(-16));
  const plaintext = cipher.update(sealed.subarray(24, -16));
  try { cipher.final(); } catch { refuse("tampered"); }
  return plaintext;
}

// --- values in MessagePack

const float = (number) => {
  const raw = Buffer.alloc(8);
  raw.writeDoubleBE(number);
  return ["float", Number.isNaN(number) ? "nan" : raw.toString("hex")];
};
const signed = (raw) => ["int", String(BigInt.asIntN(8 * raw.length, BigInt("0x" + raw.toString("hex"))))];
const pairs = (flat) => flat.filter((_, i) => i % 2 === 0).map((key, i) => [key, flat[2 * i + 1]]);
const uuid = (raw) => raw.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
const EXTENSIONS = {
  1: (raw) => ["tuple", unpack(raw)[1]], 2: (raw) => ["set", unpack(raw)[1]], 3: (raw) => ["frozenset", unpack(raw)[1]],
  4: signed, 5: (raw) => ["datetime", unpack(raw)[1]], 6: (raw) => ["date", text(raw)], 7: (raw) => ["time", unpack(raw)[1]],
  8: (raw) => ["timedelta", unpack(raw)[1]], 9: (raw) => ["Decimal", text(raw)], 10: (raw) => ["UUID", uuid(raw)],
  11: (raw) => ["Markup", text(raw)], 12: (raw) => ["dict", pairs(unpack(raw)[1])],
};

function unpack(raw) {
  let at = 0;
  const take = (size) => (at + size <= raw.length ? raw.subarray(at, (at += size)) : refuse("malformed"));
  const integer = (size) => String(BigInt("0x" + take(size).toString("hex")));
  const many = (count, read) => Array.from({ length: Number(count) }, read);
  const list = (count) => ["list", many(count, value)];
  const dict = (count) => ["dict", many(count, () => [value(), value()])];
  const string = (size) => ["str", text(take(Number(size)))];
  const extension = (size) => { const code = take(1)[0]; return (EXTENSIONS[code] ?? refuse("malformed"))(take(Number(size))); };
  function value() {
    const head = take(1)[0];
    if (head < 0x80) return ["int", String(head)];
    if (head < 0x90) return dict(head & 15);
    if (head < 0xa0) return list(head & 15);
    if (head < 0xc0) return string(head & 31);
    if (head === 0xc0) return ["NoneType", null];
    if (head === 0xc2 || head === 0xc3) return ["bool", head === 0xc3];
    if (head >= 0xc4 && head <= 0xc6) return ["bytes", base64(take(Number(integer(1 << (head - 0xc4)))))];
    if (head >= 0xc7 && head <= 0xc9) return extension(integer(1 << (head - 0xc7)));
    if (head === 0xcb) return float(take(8).readDoubleBE());
    if (head >= 0xcc && head <= 0xcf) return ["int", integer(1 << (head - 0xcc))];
    if (head >= 0xd0 && head <= 0xd3) return signed(take(1 << (head - 0xd0)));
    if (head >= 0xd4 && head <= 0xd8) return extension(1 << (head - 0xd4));
    if (head >= 0xd9 && head <= 0xdb) return string(integer(1 << (head - 0xd9)));
    if (head === 0xdc || head === 0xdd) return list(integer(head === 0xdc ? 2 : 4));
    if (head === 0xde || head === 0xdf) return dict(integer(head === 0xde ? 2 : 4));
    return head >= 0xe0 ? ["int", String(head - 256)] : refuse("malformed");
  }
  const whole = value();
  return at === raw.length ? whole : refuse("malformed");
}

// --- values in JSON. A double holds no integer beyond 2^53, so each number is first made a tag of its own, with its digits in it:
// no data can hold that tag, because a dict that would read as one is written inside {"$": …}.

const NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d+(\.\d+)?([eE][-+]?\d+)?/g;
const tagged = (source) => JSON.parse(source.replace(NUMBERS, (found, point, exponent) => {
  return found[0] === '"' ? found : JSON.stringify({ [point ?? exponent ? "$float" : "$int"]: found });
}));
const parseJson = (source) => fromJson(tagged(source));
const NOT_FINITE = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const dictOf = (object) => ["dict", Object.entries(object).map(([key, item]) => [["str", key], fromJson(item)])];
const TAGS = {
  $: dictOf, $int: (digits) => ["int", digits], $float: (digits) => float(NOT_FINITE[digits] ?? Number(digits)),
  $bytes: (encoded) => ["bytes", base64(decode(encoded))], $map: (items) => ["dict", items.map((pair) => pair.map(fromJson))],
  $tuple: (items) => ["tuple", items.map(fromJson)], $set: (items) => ["set", items.map(fromJson)],
  $frozenset: (items) => ["frozenset", items.map(fromJson)], $datetime: (fields) => ["datetime", fields.map(fromJson)],
  $time: (fields) => ["time", fields.map(fromJson)], $timedelta: (fields) => ["timedelta", fields.map(fromJson)],
  $date: (day) => ["date", day], $decimal: (digits) => ["Decimal", digits], $uuid: (digits) => ["UUID", digits],
  $markup: (html) => ["Markup", html],
};

function fromJson(value) {
  if (value === null) return ["NoneType", null];
  if (typeof value === "boolean") return ["bool", value];
  if (typeof value === "string") return ["str", value];
  if (Array.isArray(value)) return ["list", value.map(fromJson)];
  const keys = Object.keys(value);
  if (keys.length !== 1 || !keys[0].startsWith("$")) return dictOf(value);
  return (TAGS[keys[0]] ?? refuse("malformed"))(value[keys[0]]);
}

// --- tokens

function openEncrypted(secret, { token, cookie, purpose }) {
  const raw = decode(token);
  if (raw.length < 46 || raw[0] !== 1) refuse("malformed");
  if (!raw.subarray(1, 6).equals(derive(secret, "key-id", 5))) refuse("unknown_key");
  const aad = Buffer.concat([raw.subarray(0, 6), frame(purpose, cookie)]);
  return unpack(decrypt(derive(secret, "encrypt", 32), raw.subarray(6), aad));
}

function openSigned(secret, { token, cookie, purpose }) {
  const parts = token.split(".");
  if (parts.length !== 4 || parts[0] !== "ht1") refuse("malformed");
  if (!decode(parts[1]).equals(derive(secret, "key-id", 5))) refuse("unknown_key");
  const message = ["hardtack/1 signed", frame(purpose, cookie), parts.slice(0, 3).join(".")].map((part) => Buffer.from(part));
  const mac = createHmac("sha256", derive(secret, "sign", 32)).update(Buffer.concat(message)).digest("base64url");
  const [mine, theirs] = [Buffer.from(mac), Buffer.from(parts[3])];
  if (mine.length !== theirs.length || !timingSafeEqual(mine, theirs)) refuse("tampered");
  return parseJson(text(decode(parts[2])));
}

function open(secret, token) {
  try {
    if (token.token.length > 36864) refuse("too_large");
    const [type, fields] = (token.format === "signed" ? openSigned : openEncrypted)(secret, token);
    return type === "list" && fields.length === 7 ? { record: fields } : refuse("malformed");
  } catch (error) {
    return { refused: error.message };
  }
}

// --- the program

function check(source) {
  const vectors = tagged(source);
  const secret = Buffer.from(vectors.keys.secret, "hex");
  deepStrictEqual(base64(derive(secret, "key-id", 5)), base64(Buffer.from(vectors.keys.key_id, "hex")));
  const good = ["encrypted", "signed"].flatMap((format) => vectors[format].map((each) => ({ format, ...each })));
  for (const each of good) {
    const [id, ...rest] = fromJson(each.record)[1]; // the id is bytes in MessagePack, and their base64url in JSON
    deepStrictEqual(open(secret, each), { record: [each.format === "encrypted" ? ["bytes", id[1]] : id, ...rest] });
  }
  for (const each of vectors.refused) deepStrictEqual(open(secret, each), { refused: each.reason }, each.why);
  for (const each of vectors.values) deepStrictEqual(unpack(Buffer.from(each.messagepack, "hex")), fromJson(each.json), each.python);
  return `opened ${good.length}, refused ${vectors.refused.length}, read ${vectors.values.length} values\n`;
}

const source = readFileSync(process.argv[2] ?? 0, "utf8");
if (process.argv[2]) {
  process.stdout.write(check(source));
} else {
  const { secret, tokens } = JSON.parse(source);
  process.stdout.write(JSON.stringify(tokens.map((token) => open(Buffer.from(secret, "hex"), token))));
}
