# The session cookie of the real Rack: one JSON request a line on stdin, one JSON answer a line on stdout.

require "json"
require "rack"
require "rack/session/cookie"

# As Rack 1 and 2.0 encode: with line ends.
class Lines < Rack::Session::Cookie::Base64::JSON
  def encode(data)
    [::JSON.dump(data)].pack("m")
  end
end

def answer(request)
  options = { secret: request["secret"] }
  if Rack.release.start_with?("2")
    options[:coder] = request["lines"] ? Lines.new : Rack::Session::Cookie::Base64::JSON.new
  else
    options[:serialize_json] = true
  end
  store = Rack::Session::Cookie.new(nil, **options)
  case request["op"]
  when "release"
    Rack.release
  when "write"
    value = store.send(:write_session, Rack::Request.new({}), "x", request["data"], {}).cookie_value
    Rack::Utils.escape(value)
  when "read"
    store.send(:unpacked_cookie_data, Rack::Request.new({ "HTTP_COOKIE" => "rack.session=#{request["value"]}" }))
  end
end

$stdin.each_line do |line|
  result =
    begin
      { result: answer(JSON.parse(line)) }
    rescue StandardError => error
      { error: error.message }
    end
  puts JSON.generate(result)
  $stdout.flush
end
