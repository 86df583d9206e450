<?php
// A shop on Laravel's session, encrypter and stores, for PHP's own web server.
// DRIVER is the session driver: `cookie`, `redis`, `file` or `database`.

foreach (['Encryption', 'Cookie', 'Session', 'Cache', 'Redis', 'Filesystem', 'Database'] as $part) {
    @include_once "Illuminate/$part/autoload.php";
}

use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Cookie\CookieJar;
use Illuminate\Cookie\CookieValuePrefix;
use Illuminate\Encryption\Encrypter;
use Illuminate\Redis\RedisManager;
use Illuminate\Session\CacheBasedSessionHandler;
use Illuminate\Session\CookieSessionHandler;
use Illuminate\Session\DatabaseSessionHandler;
use Illuminate\Session\FileSessionHandler;
use Illuminate\Session\Store;

const NAME = 'laravel_session';

function handler(CookieJar $jar, array $cookies)
{
    switch (getenv('DRIVER')) {
        case 'cookie':
            $handler = new CookieSessionHandler($jar, 120);
            $handler->setRequest(new Symfony\Component\HttpFoundation\Request([], [], [], $cookies));
            return $handler;
        case 'file':
            return new FileSessionHandler(new Illuminate\Filesystem\Filesystem, getenv('PLACE'), 120);
        case 'database':
            $database = new Illuminate\Database\Capsule\Manager;
            $database->addConnection(['driver' => 'sqlite', 'database' => getenv('PLACE')]);
            return new DatabaseSessionHandler($database->getConnection(), 'sessions', 120);
        case 'redis':
            $connection = ['host' => '127.0.0.1', 'port' => getenv('PLACE'), 'database' => 0];
            $options = ['options' => ['prefix' => 'laravel_database_'], 'default' => $connection];
            $redis = new RedisManager(null, 'phpredis', $options);
            return new CacheBasedSessionHandler(new Repository(new RedisStore($redis, 'laravel_cache')), 120);
    }
}

$key = base64_decode(substr(getenv('APP_KEY'), 7));
$encrypter = new Encrypter($key, 'aes-256-cbc');
$cookies = [];
foreach (explode('; ', $_SERVER['HTTP_COOKIE'] ?? '') as $pair) {
    [$name, $value] = explode('=', $pair, 2) + [1 => ''];
    try {
        $text = $encrypter->decrypt(urldecode($value), false);
    } catch (Throwable $error) {
        continue;
    }
    if (strpos($text, CookieValuePrefix::create($name, $key)) === 0) {
        $cookies[$name] = CookieValuePrefix::remove($text);
    }
}

$jar = new CookieJar;
$session = new Store(NAME, handler($jar, $cookies), $cookies[NAME] ?? null);
$session->start();
[$page, $argument] = explode('/', trim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/')) + [1 => ''];
$body = 'done';
switch ($page) {
    case 'login':
        $session->migrate(true);
        $session->put('user', $argument);
        break;
    case 'add':
        $session->push('cart', $argument);
        break;
    case 'whoami':
        $body = $session->get('user', 'nobody');
        break;
    case 'cart':
        $body = implode(',', $session->get('cart', []));
        break;
    case 'logout':
        $session->invalidate();
        break;
}
$session->save();
$jar->queue(NAME, $session->getId());
foreach ($jar->getQueuedCookies() as $cookie) {
    $text = CookieValuePrefix::create($cookie->getName(), $key) . $cookie->getValue();
    $sealed = rawurlencode($encrypter->encrypt($text, false));
    $ends = $cookie->isCleared() ? '; Max-Age=0' : '';
    header("Set-Cookie: {$cookie->getName()}=$sealed; Path=/; HttpOnly$ends", false);
}
header('Content-Type: text/plain');
echo $body;
