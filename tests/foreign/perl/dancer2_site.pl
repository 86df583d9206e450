# A Dancer2 application whose sessions are files, for the tests: perl dancer2_site.pl PORT DIRECTORY
use strict;
use warnings;

my ( $port, $directory );
BEGIN { ( $port, $directory ) = splice @ARGV, 0, 2 }

package Site;
use Dancer2;

BEGIN {
    set engines => { session => { YAML => { session_dir => $directory, cookie_name => 'dancer.session' } } };
    set session => 'YAML';
    set startup_info => 0;
}

get '/login/:user' => sub {
    session user => route_parameters->get('user');
    app->change_session_id;
    return 'logged in';
};
get '/add/:item' => sub { session cart => [ @{ session('cart') // [] }, route_parameters->get('item') ]; return 'added'; };
get '/whoami'    => sub { return session('user') // 'nobody'; };
get '/cart'      => sub { return join ',', @{ session('cart') // [] }; };
get '/logout'    => sub { app->destroy_session; return 'logged out'; };

package main;
use HTTP::Server::PSGI;

HTTP::Server::PSGI->new( host => '127.0.0.1', port => $port )->run( Site->to_app );
