#include "blockcore/nbd/url.h"

#include <charconv>
#include <optional>

#include "blockcore/nbd/protocol.h"

namespace hull::blockcore::nbd {

namespace {

constexpr std::string_view kTcpScheme = "nbd://";
constexpr std::string_view kUnixScheme = "nbd+unix://";
constexpr std::string_view kOtherSchemes[] = {"nbds://", "nbds+unix://", "nbd+vsock://",
                                              "nbds+vsock://"};

// "%2F" is '/'. nullopt: a malformed escape, or a zero byte.
std::optional<std::string> unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = static_cast<unsigned char>(text[i]);
    if (text[i] == '%') {
      const std::string_view digits = text.substr(i + 1, 2);
      const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
      if (digits.size() != 2 || read.ptr != digits.data() + 2) return std::nullopt;
      i += 2;
    }
    if (byte == 0) return std::nullopt;
    plain += static_cast<char>(byte);
  }
  return plain;
}

std::unexpected<Error> bad(std::string_view url, std::string_view why) {
  return fail(ErrorKind::kInvalidConfig, "'{}': {}", url, why);
}

struct Parts {
  std::string_view authority;
  std::string export_name;
  std::optional<std::string> socket;
};

Result<Parts> split(std::string_view url, std::string_view rest) {
  Parts parts;
  const size_t query_at = rest.find('?');
  const std::string_view query =
      query_at == std::string_view::npos ? "" : rest.substr(query_at + 1);
  rest = rest.substr(0, query_at);
  const size_t slash = rest.find('/');
  parts.authority = rest.substr(0, slash);
  const auto name =
      unescape(slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1));
  if (!name || name->size() > kMaxStringBytes)
    return bad(url, "the name of the export is not valid");
  parts.export_name = *name;
  if (query.empty()) return parts;
  if (!query.starts_with("socket=") || query.find('&') != std::string_view::npos)
    return bad(url, "the only parameter that hull knows is socket=PATH");
  parts.socket = unescape(query.substr(7));
  if (!parts.socket) return bad(url, "the path of the socket is not valid");
  return parts;
}

// "host", "host:port" or "[v6]:port".
Result<SocketAddress> parse_authority(std::string_view url, std::string_view authority) {
  const bool bracketed = authority.starts_with('[');
  const size_t host_end = bracketed ? authority.find(']') : authority.find(':');
  if (bracketed && host_end == std::string_view::npos) return bad(url, "a '[' without ']'");
  const std::string host(bracketed ? authority.substr(1, host_end - 1)
                                   : authority.substr(0, host_end));
  std::string_view port_text;
  if (host_end != std::string_view::npos)
    port_text = authority.substr(host_end + (bracketed ? 1 : 0));
  uint16_t port = kDefaultPort;
  if (!port_text.empty()) {
    const char* const end = port_text.data() + port_text.size();
    const auto read = std::from_chars(port_text.data() + 1, end, port);
    if (port_text.front() != ':' || read.ec != std::errc() || read.ptr != end || port == 0)
      return bad(url, "the port is a number from 1 to 65535");
  }
  if (host.empty()) return bad(url, "it names no host");
  return SocketAddress::tcp(host, port);
}

}  // namespace

bool is_url(std::string_view text) {
  for (const std::string_view scheme : kOtherSchemes)
    if (text.starts_with(scheme)) return true;
  return text.starts_with(kTcpScheme) || text.starts_with(kUnixScheme);
}

Result<Url> parse_url(std::string_view text) {
  const bool over_unix = text.starts_with(kUnixScheme);
  if (text.starts_with("nbds"))
    return bad(text, "hull speaks no TLS: use nbd://, on a network that you trust");
  if (!over_unix && !text.starts_with(kTcpScheme))
    return bad(text, "an NBD URL begins with nbd:// or nbd+unix://");
  Parts parts = TRY(split(text, text.substr(over_unix ? kUnixScheme.size() : kTcpScheme.size())));
  if (over_unix != parts.socket.has_value())
    return bad(text, over_unix ? "it needs ?socket=PATH" : "socket= goes with nbd+unix://");
  if (over_unix && !parts.authority.empty()) return bad(text, "nbd+unix:// names no host");
  SocketAddress address = TRY(over_unix ? SocketAddress::unix_path(*parts.socket)
                                        : parse_authority(text, parts.authority));
  return Url{address, std::move(parts.export_name)};
}

}  // namespace hull::blockcore::nbd
