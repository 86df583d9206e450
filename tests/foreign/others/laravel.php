<?php
// PHP's serialize, and the real encrypter of Laravel: one JSON request a line on stdin, one JSON answer a line on stdout.

require 'Illuminate/Encryption/autoload.php';
require 'Illuminate/Cookie/autoload.php';
require 'Illuminate/Session/autoload.php';
@include_once 'Illuminate/Cache/autoload.php';
@include_once 'Illuminate/Redis/autoload.php';
@include_once 'Illuminate/Database/autoload.php';

use Illuminate\Cookie\CookieJar;
use Illuminate\Cookie\CookieValuePrefix;
use Illuminate\Encryption\Encrypter;
use Illuminate\Session\CookieSessionHandler;
use Illuminate\Session\DatabaseSessionHandler;
use Illuminate\Session\EncryptedStore;
use Illuminate\Session\Store;

function answer(array $request)
{
    if ($request['op'] === 'unserialize') {
        // What is read is written again: both functions of the language, in one answer.
        return bin2hex(serialize(unserialize(hex2bin($request['document']), ['allowed_classes' => false])));
    }
    $key = base64_decode($request['key']);
    $encrypter = new Encrypter($key, $request['cipher']);
    $prefixed = $request['prefixed'] ?? true; // as since 6.18.27 and 7.22.2
    $encrypt = function ($name, $text) use ($encrypter, $key, $prefixed) {
        return rawurlencode($encrypter->encrypt(($prefixed ? CookieValuePrefix::create($name, $key) : '') . $text, false));
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
        case 'row': // of the database driver: what its table and Redis have of a session
            $database = new Illuminate\Database\Capsule\Manager;
            $database->addConnection(['driver' => 'sqlite', 'database' => ':memory:']);
            $connection = $database->getConnection();
            $connection->statement('create table sessions (id text primary key, payload text, last_activity integer)');
            $handler = new DatabaseSessionHandler($connection, 'sessions', 120);
            $store = $request['encrypted']
                ? new EncryptedStore($request['name'], $handler, $encrypter, $request['id'])
                : new Store($request['name'], $handler, $request['id']);
            $store->replace($request['data']);
            $store->save();
            $row = $connection->table('sessions')->find($request['id']);
            $serialize = new ReflectionMethod('Illuminate\Cache\RedisStore', 'serialize');
            $serialize->setAccessible(true);
            $redis = (new ReflectionClass('Illuminate\Cache\RedisStore'))->newInstanceWithoutConstructor();
            return [$row->payload, $serialize->invoke($redis, base64_decode($row->payload))];
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
