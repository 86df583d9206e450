# A shop on Rack, WEBrick and Rack::Session::Cookie with JSON. It prints its port.

require "rack"
require "rack/session/cookie"
begin
  require "rackup"
rescue LoadError
  nil # Rack 2 has its handlers itself
end

shop = lambda do |environment|
  session = environment["rack.session"]
  page, argument = environment["PATH_INFO"].delete_prefix("/").split("/")
  body = "done"
  case page
  when "login"
    session["user"] = argument
  when "add"
    session["cart"] = (session["cart"] || []) + [argument]
  when "whoami"
    body = session["user"] || "nobody"
  when "cart"
    body = (session["cart"] || []).join(",")
  when "logout"
    session.clear
  end
  [200, { "content-type" => "text/plain" }, [body]]
end

options = if Rack.release < "3"
  { secret: ENV.fetch("SECRET"), coder: Rack::Session::Cookie::Base64::JSON.new }
else
  { secrets: ENV.fetch("SECRET") * 2, serialize_json: true }
end
app = Rack::Session::Cookie.new(shop, **options)
handler = defined?(Rackup) ? Rackup::Handler::WEBrick : Rack::Handler.get("webrick")
log = WEBrick::Log.new(File::NULL)
Thread.new { $stdin.read; exit! }
handler.run(app, Host: "127.0.0.1", Port: 0, Logger: log, AccessLog: []) do |server|
  puts server.listeners.first.addr[1]
  $stdout.flush
end
