# A shop on Rack, WEBrick and Rack::Session::Cookie with JSON. It prints its port.

require "rack"
require "rack/mock"
require "rack/session/cookie"
require "webrick"

# Rack 2 has a handler for WEBrick, and Rack 3 has it in a package that not every Debian has.
class Servlet < WEBrick::HTTPServlet::AbstractServlet
  def initialize(server, app)
    super(server)
    @app = app
  end

  def service(request, response)
    environment = Rack::MockRequest.env_for(request.unparsed_uri, method: request.request_method)
    environment["HTTP_COOKIE"] = request["cookie"] if request["cookie"]
    response.status, headers, body = @app.call(environment)
    headers.each do |name, value|
      if name.downcase == "set-cookie"
        response.cookies.concat(value.is_a?(Array) ? value : value.split("\n"))
      else
        response[name] = value
      end
    end
    response.body = String.new
    body.each { |part| response.body << part }
    body.close if body.respond_to?(:close)
  end
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
log = WEBrick::Log.new(File::NULL)
server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: 0, Logger: log, AccessLog: [])
server.mount("/", Servlet, app)
Thread.new { $stdin.read; exit! }
puts server.listeners.first.addr[1]
$stdout.flush
server.start
