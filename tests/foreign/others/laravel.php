<?php
// PHP's serialize, and the real encrypter of Laravel: one JSON request a line on stdin, one JSON answer a line on stdout.

require 'Illuminate/Encryption/autoload.php';
require 'Illuminate/Cookie/autoload.php';
require 'Illuminate/Session/autoload.php';

use Illuminate\Cookie\CookieJar;
use Illuminate\Cookie\CookieValuePrefix;
use Illuminate\Encryption\Encrypter;
use Illuminate\Session\CookieSessionHandler;
use Illuminate\Session\Store;

function answer(array $request)
{
    if ($request['op'] === 'unserialize') {
        // What is read is written again: both functions of the language, in one answer.
        return bin2hex(serialize(unserialize(hex2bin($request['document']), ['allowed_classes' => false])));
    }
    $key = base64_decode($request['key']);
    $encrypter = new Encrypter($key, $request['cipher']);
    $encrypt = function ($name, $text) use ($encrypter, $key) {
        return rawurlencode($encrypter->encrypt(CookieValuePrefix::create($name, $key) . $text, false));
    };
    $decrypt = function ($name, $value) use ($encrypter, $key) {
        $text = $encrypter->decrypt(urldecode($value), false);
        return strpos($text, CookieValuePrefix::create($name, $key)) === 0 ? CookieValuePrefix::remove($text) : null;
    };
    switch ($request['op']) {
        case 'encrypt':
            return $encrypt($request['name'], $request['text']);
        case 'decrypt':
            return $decrypt($request['name'], $request['value']);
        case 'save': // of the cookie driver: the cookies that it sets
            $jar = new CookieJar;
            $store = new Store($request['name'], new CookieSessionHandler($jar, 120));
            $store->replace($request['data']);
            $store->save();
            $cookies = [$request['name'] => $encrypt($request['name'], $store->getId())];
            foreach ($jar->getQueuedCookies() as $cookie) {
                $cookies[$cookie->getName()] = $encrypt($cookie->getName(), $cookie->getValue());
            }
            return $cookies;
        case 'load':
            $texts = [];
            foreach ($request['cookies'] as $name => $value) {
                $texts[$name] = $decrypt($name, $value);
            }
            $handler = new CookieSessionHandler(new CookieJar, 120);
            $handler->setRequest(new Symfony\Component\HttpFoundation\Request([], [], [], $texts));
            $store = new Store($request['name'], $handler, $texts[$request['name']]);
            $store->start();
            return $store->all();
    }
}

while (($line = fgets(STDIN)) !== false) {
    try {
        $result = ['result' => answer(json_decode($line, true))];
    } catch (Throwable $error) {
        $result = ['error' => $error->getMessage()];
    }
    echo json_encode($result, JSON_PRESERVE_ZERO_FRACTION), "\n"; // a double stays one
}
