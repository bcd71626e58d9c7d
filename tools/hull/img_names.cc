// What the names of images on the command line mean: a path, a URL, or a word with a protocol in
// front of it as qemu-img takes it.
#include <charconv>

#include "blockcore/nbd/url.h"
#include "config/network_source.h"
#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

// "WORD:" before the first slash; empty: a plain path.
std::string_view protocol_of(std::string_view word) {
  const size_t end = word.find_first_of(":/");
  return end == std::string_view::npos || word[end] != ':' ? "" : word.substr(0, end);
}

// "unix:PATH" or "HOST:PORT", then perhaps ":exportname=NAME".
Result<std::string> old_nbd_name(const std::string& word) {
  constexpr std::string_view kUnix = "unix:";
  constexpr std::string_view kExport = ":exportname=";
  std::string_view rest = std::string_view(word).substr(4);
  std::string_view export_name;
  if (const size_t at = rest.find(kExport); at != std::string_view::npos) {
    export_name = rest.substr(at + kExport.size());
    rest = rest.substr(0, at);
  }
  if (rest.starts_with(kUnix)) {
    if (rest.size() == kUnix.size())
      return fail(ErrorKind::kUsage, "'{}': which socket? Say nbd:unix:PATH", word);
    return config::nbd_url_over_unix(rest.substr(kUnix.size()), export_name);
  }
  const size_t colon = rest.rfind(':');
  const std::string_view digits =
      colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  uint16_t port = 0;
  const char* const end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, port);
  std::string_view host = rest.substr(0, colon);
  if (digits.empty() || read.ec != std::errc() || read.ptr != end || port == 0 || host.empty())
    return fail(ErrorKind::kUsage, "'{}': say nbd:HOST:PORT or nbd:unix:PATH", word);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return config::nbd_url_over_tcp(host, port, export_name);
}

}  // namespace

Result<std::string> parse_img_path(const std::string& word) {
  if (blockcore::nbd::is_url(word)) return word;
  const std::string_view protocol = protocol_of(word);
  if (protocol.empty()) return word;
  if (protocol == "file" || protocol == "host_device") return word.substr(protocol.size() + 1);
  if (protocol == "nbd") return old_nbd_name(word);
  return fail(ErrorKind::kUsage, "{}: Unknown protocol '{}' (a file of that name is ./{})", word,
              protocol, word);
}

}  // namespace hull::cli
