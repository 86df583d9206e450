# Runs the real Perl modules for the tests: reads one JSON request a line, writes one JSON answer a line.
# Values travel as [type, value], so that Perl's text, integers, floats and booleans are told apart.
use strict;
use warnings;
use B ();
use JSON::PP ();
no warnings 'experimental::builtin';

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
$| = 1;

sub to_perl {
    my ($tagged) = @_;
    my ( $type, $value ) = @$tagged;
    return undef                                               if $type eq 'u';
    return "$value"                                            if $type eq 's';
    return $value ? !!1 : !!0                                  if $type eq 'b';
    return $value ? JSON::PP::true : JSON::PP::false           if $type eq 'j';
    return unpack( 'd<', pack( 'H*', $value ) )                if $type eq 'n';
    return { map { $_ => to_perl( $value->{$_} ) } keys %$value } if $type eq 'h';
    return [ map { to_perl($_) } @$value ]                     if $type eq 'a';
    my $integer = 0 + $value;
    return $integer;
}

sub from_perl {
    my ($value) = @_;
    return [ 'u', undef ] unless defined $value;
    return [ 'h', { map { $_ => from_perl( $value->{$_} ) } keys %$value } ] if ref $value eq 'HASH';
    return [ 'a', [ map { from_perl($_) } @$value ] ] if ref $value eq 'ARRAY';
    return [ 'b', $value ? JSON::PP::true : JSON::PP::false ] if JSON::PP::is_bool($value);
    return [ 'x', ref $value ] if ref $value;
    return [ 'b', $value ? JSON::PP::true : JSON::PP::false ] if builtin::is_bool($value);
    my $flags = B::svref_2object( \$value )->FLAGS;
    return [ 's', "$value" ] if $flags & B::SVf_POK;
    return [ 'i', "$value" ] if $flags & B::SVf_IOK;
    return [ 'n', unpack( 'H*', pack( 'd<', $value ) ) ];
}

sub hex_of { return unpack( 'H*', $_[0] ) }
sub unhex  { return pack( 'H*', $_[0] ) }

sub secure {
    my ($request) = @_;
    require Session::Storage::Secure;
    my %options = %{ $request->{options} // {} };
    return Session::Storage::Secure->new( secret_key => unhex( $request->{secret} ), %options );
}

sub plack_app {
    my ( $request, $app ) = @_;
    require Plack::Middleware::Session::Cookie;
    return Plack::Middleware::Session::Cookie->wrap( $app, secret => unhex( $request->{secret} ) );
}

sub plack_call {
    my ( $request, $app, $cookie ) = @_;
    my %env = ( REQUEST_METHOD => 'GET', PATH_INFO => '/', SCRIPT_NAME => '', 'psgi.url_scheme' => 'http' );
    $env{HTTP_COOKIE} = "plack_session=$cookie" if defined $cookie;
    my $response = plack_app( $request, $app )->( \%env );
    my %headers  = @{ $response->[1] };
    return $headers{'Set-Cookie'} // '';
}

my $mojo;

sub mojo_controller {
    my ($request) = @_;
    require Mojolicious;
    $mojo //= Mojolicious->new;
    $mojo->log->level('fatal');
    $mojo->secrets( $request->{secrets} );
    $mojo->sessions->default_expiration( $request->{expiration} ) if defined $request->{expiration};
    return $mojo->build_controller;
}

# What a session should not hold, for the tests of refusal.
package Freezes { sub new { return bless {}, shift } sub FREEZE { return 'x' } }
package Hooks { sub new { return bless {}, shift } sub STORABLE_freeze { return 'x' } sub STORABLE_thaw { } }
package Tied { sub TIEHASH { return bless {}, shift } }

# Dancer2::Session::JSON is not in Debian; this is what it does with a file.
sub json_engine {
    require Moo;
    eval <<'PERL' or die $@ unless Dancer2::Session::JSON->can('new');
        package Dancer2::Session::JSON;
        use Moo;
        use JSON ();
        has _suffix => ( is => 'ro', default => sub { '.json' } );
        with 'Dancer2::Core::Role::SessionFactory::File';
        sub _json { return JSON->new->allow_blessed->convert_blessed }
        sub _freeze_to_handle {
            my ( $self, $fh, $data ) = @_;
            binmode $fh;
            no warnings 'utf8';
            print {$fh} $self->_json->encode($data);
        }
        sub _thaw_from_handle { my ( $self, $fh ) = @_; local $/; return $self->_json->decode(<$fh>) }
        1;
PERL
    return 'Dancer2::Session::JSON';
}

sub dancer2 {
    my ($request) = @_;
    require Dancer2::Session::YAML;
    my $class = $request->{format} eq 'json' ? json_engine() : 'Dancer2::Session::YAML';
    return $class->new( session_dir => $request->{dir} );
}

sub dancer1 {
    my ($request) = @_;
    require Dancer::Session::YAML;
    require YAML;
    Dancer::Config::setting( session_dir => $request->{dir} );
    return 'Dancer::Session::YAML';
}

my %operations = (
    dancer2_create => sub {
        my $engine = dancer2( $_[0] );
        my $session = $engine->create;
        %{ $session->data } = %{ to_perl( $_[0]{data} ) };
        $engine->flush( session => $session );
    },
    dancer2_flush => sub { dancer2( $_[0] )->_flush( $_[0]{id}, to_perl( $_[0]{data} ) ); 1 },
    dancer2_retrieve => sub { from_perl( dancer2( $_[0] )->retrieve( id => $_[0]{id} )->data ) },
    dancer2_change_id => sub {
        my $engine = dancer2( $_[0] );
        my $session = $engine->retrieve( id => $_[0]{id} );
        $engine->change_id( session => $session );
        $session->id;
    },
    dancer2_destroy => sub { dancer2( $_[0] )->destroy( id => $_[0]{id} ) },
    dancer2_accepts => sub { dancer2( $_[0] )->validate_id( $_[0]{id} ) ? 1 : 0 },
    dancer1_flush => sub {
        my $class = dancer1( $_[0] );
        my $session = bless to_perl( $_[0]{data} ), $class;
        $session->{id} = $_[0]{id} // $class->build_id;
        $session->flush;
        $session->{id};
    },
    dancer1_retrieve => sub {
        my $session = dancer1( $_[0] )->retrieve( $_[0]{id} );
        defined $session ? from_perl( {%$session} ) : undef;
    },
    yaml_dump => sub { require YAML; YAML::Dump( to_perl( $_[0]{data} ) ) },
    yaml_load => sub { require YAML; local $YAML::LoadBlessed = 1; from_perl( YAML::Load( $_[0]{text} ) ) },
    sereal_encode => sub {
        require Sereal::Encoder;
        hex_of( Sereal::Encoder->new( $_[0]{options} // {} )->encode( to_perl( $_[0]{data} ) ) );
    },
    sereal_decode => sub {
        require Sereal::Decoder;
        from_perl( Sereal::Decoder->new( { refuse_objects => 1, validate_utf8 => 1 } )->decode( unhex( $_[0]{raw} ) ) );
    },
    storable_freeze => sub {
        require Storable;
        my $data = to_perl( $_[0]{data} );
        hex_of( $_[0]{network} ? Storable::nfreeze($data) : Storable::freeze($data) );
    },
    storable_thaw => sub { require Storable; from_perl( Storable::thaw( unhex( $_[0]{raw} ) ) ) },
    perl          => sub {
        require Hash::Util;
        require Scalar::Util;
        require Sereal::Encoder;
        require Storable;
        hex_of( eval $_[0]{code} // die $@ );
    },
    secure_encode => sub { secure( $_[0] )->encode( to_perl( $_[0]{data} ), $_[0]{expires} ) },
    secure_decode => sub { from_perl( secure( $_[0] )->decode( $_[0]{value} ) ) },
    plack_write   => sub {
        my ($request) = @_;
        my $app = sub { my $env = shift; $env->{'psgix.session'} = to_perl( $request->{data} ); [ 200, [], [] ] };
        plack_call( $request, $app );
    },
    plack_read => sub {
        my ($request) = @_;
        my $seen;
        my $app = sub { my $env = shift; $seen = $env->{'psgix.session'}; [ 200, [], [] ] };
        plack_call( $request, $app, $request->{value} );
        from_perl($seen);
    },
    mojo_write => sub {
        my ($request) = @_;
        my $c = mojo_controller($request);
        $c->session( %{ to_perl( $request->{data} ) } );
        $mojo->sessions->store($c);
        $c->res->cookie('mojolicious')->value;
    },
    mojo_read => sub {
        my ($request) = @_;
        my $c = mojo_controller($request);
        $c->req->cookies( { name => 'mojolicious', value => $request->{value} } );
        from_perl( $c->session );
    },
);

while ( defined( my $line = <STDIN> ) ) {
    my $request = $json->decode($line);
    my $answer  = eval { { result => $operations{ $request->{op} }->($request) } } // { error => "$@" };
    print $json->encode($answer), "\n";
}
