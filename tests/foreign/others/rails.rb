# The cookie jars of the real Rails: one JSON request a line on stdin, one JSON answer a line on stdout.

require "json"
require "openssl"
require "action_controller"
require "action_dispatch"
require "active_support/key_generator"
require "active_support/message_encryptor"
require "active_support/message_verifier"
require "active_support/messages/rotation_configuration"

SALTS = {
  "authenticated_encrypted_cookie_salt" => "authenticated encrypted cookie",
  "encrypted_cookie_salt" => "encrypted cookie",
  "encrypted_signed_cookie_salt" => "signed encrypted cookie",
  "signed_cookie_salt" => "signed cookie",
}

def generator(request)
  digest = OpenSSL::Digest.const_get(request["digest"])
  options = { iterations: 1000 }
  options[:hash_digest_class] = digest if ActiveSupport::KeyGenerator.respond_to?(:hash_digest_class)
  ActiveSupport::KeyGenerator.new(request["secret"], **options)
end

# The jar of Rails 5.1, which gives its digest to the same class: later ones read that, and write HMAC-SHA1.
def cbc(request)
  keys = generator(request)
  secrets = [keys.generate_key("encrypted cookie", 32), keys.generate_key("signed encrypted cookie")]
  serializer = ActiveSupport::MessageEncryptor::NullSerializer
  options = { cipher: "aes-256-cbc", digest: request["cookies_digest"], serializer: serializer }
  ActiveSupport::MessageEncryptor.new(*secrets, **options).encrypt_and_sign(JSON.generate(request["data"]))
end

def jar(request, cookies)
  environment = {
    "action_dispatch.key_generator" => generator(request),
    "action_dispatch.secret_key_base" => request["secret"],
    "action_dispatch.encrypted_cookie_cipher" => request["encrypted_cookie_cipher"],
    "action_dispatch.use_authenticated_cookie_encryption" => request.fetch("authenticated", true),
    "action_dispatch.use_cookies_with_metadata" => request.fetch("metadata", true),
    "action_dispatch.cookies_serializer" => :json,
    "action_dispatch.cookies_digest" => request["cookies_digest"],
    "action_dispatch.signed_cookie_digest" => request["signed_cookie_digest"],
    "action_dispatch.cookies_rotations" => ActiveSupport::Messages::RotationConfiguration.new,
  }
  SALTS.each { |name, salt| environment["action_dispatch.#{name}"] = request.fetch(name, salt) }
  ActionDispatch::Cookies::CookieJar.build(ActionDispatch::Request.new(environment), cookies)
end

def answer(request)
  name = request["name"]
  case request["op"]
  when "version"
    ActionPack.version.to_s
  when "sha256"
    ActiveSupport::KeyGenerator.respond_to?(:hash_digest_class)
  when "cbc"
    Rack::Utils.escape(cbc(request))
  when "write"
    cookies = jar(request, {})
    expires = request["expires"] && Time.at(request["expires"])
    cookies.public_send(request["kind"])[name] = { value: request["data"], expires: expires }
    Rack::Utils.escape(cookies[name])
  when "read"
    jar(request, { name => Rack::Utils.unescape(request["value"]) }).public_send(request["kind"])[name]
  end
end

$stdin.each_line do |line|
  result = begin
    { result: answer(JSON.parse(line)) }
  rescue StandardError => error
    { error: error.message }
  end
  puts JSON.generate(result)
  $stdout.flush
end
