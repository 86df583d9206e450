// The real cookie crate: one request a line on stdin, of words with a space between; one JSON answer a line on stdout.
//
//     write|read  signed|private  from|derived  KEY  NAME  VALUE      the last three in hexadecimal
//
// To write is to put a cookie into a jar and to give its percent-encoded value, as axum-extra does; to read is the reverse.

use cookie::{Cookie, CookieJar, Key};
use std::io::{self, BufRead, Write};

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn text(word: &str) -> String {
    String::from_utf8(from_hex(word)).unwrap()
}

fn to_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{:02x}", byte)).collect()
}

fn answer(words: &[&str]) -> Option<String> {
    let raw = from_hex(words[3]);
    let key = if words[2] == "derived" { Key::derive_from(&raw) } else { Key::from(&raw) };
    let (name, value) = (text(words[4]), text(words[5]));
    let mut jar = CookieJar::new();
    if words[0] == "write" {
        let cookie = Cookie::new(name.clone(), value);
        match words[1] {
            "signed" => jar.signed_mut(&key).add(cookie),
            #[cfg(feature = "private")]
            "private" => jar.private_mut(&key).add(cookie),
            _ => return None,
        }
        let line = jar.get(&name)?.encoded().stripped().to_string();
        return line.split_once('=').map(|(_, value)| value.to_string());
    }
    jar.add_original(Cookie::parse_encoded(format!("{}={}", name, value)).ok()?.into_owned());
    let cookie = match words[1] {
        "signed" => jar.signed(&key).get(&name),
        #[cfg(feature = "private")]
        "private" => jar.private(&key).get(&name),
        _ => None,
    };
    cookie.map(|cookie| cookie.value().to_string())
}

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match answer(&words) {
            Some(found) => println!("{{\"result\":\"{}\"}}", to_hex(&found)),
            None => println!("{{\"error\":\"refused\"}}"),
        }
        io::stdout().flush().unwrap();
    }
}
