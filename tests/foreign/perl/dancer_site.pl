# A Dancer 1 application with Dancer::Session::Cookie, for the tests: perl dancer_site.pl PORT KEY
use strict;
use warnings;
use Dancer;

my ( $port, $key ) = splice @ARGV, 0, 2;
# The key first: the engine is made when `session` is set.
set session_cookie_key => $key;
set session_expires    => '1 hour';
set session            => 'Cookie';
set server             => '127.0.0.1';
set port               => $port;
set startup_info       => 0;

get '/login/:user' => sub { session user => param('user'); return 'logged in'; };
get '/add/:item'   => sub { session cart => [ @{ session('cart') // [] }, param('item') ]; return 'added'; };
get '/whoami'      => sub { return session('user') // 'nobody'; };
get '/cart'        => sub { return join ',', @{ session('cart') // [] }; };
get '/logout'      => sub { session->destroy; return 'logged out'; };

dance;
