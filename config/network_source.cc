#include "config/network_source.h"

#include <fmt/core.h>

namespace hull::config {

namespace {

// Everything but what RFC 3986 calls unreserved, and the slash.
std::string escape(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
  std::string escaped;
  for (const char c : text)
    escaped += kPlain.find(c) != std::string_view::npos
                   ? std::string(1, c)
                   : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  return escaped;
}

}  // namespace

bool is_nbd_url(std::string_view text) {
  for (const std::string_view scheme :
       {"nbd://", "nbd+unix://", "nbds://", "nbds+unix://", "nbd+vsock://", "nbds+vsock://"})
    if (text.starts_with(scheme)) return true;
  return false;
}

std::string nbd_url_over_tcp(std::string_view host, uint16_t port, std::string_view export_name) {
  const bool v6 = host.find(':') != std::string_view::npos;
  std::string url = fmt::format("nbd://{}{}{}", v6 ? "[" : "", host, v6 ? "]" : "");
  if (port != 0) url += fmt::format(":{}", port);
  return fmt::format("{}/{}", url, escape(export_name));
}

std::string nbd_url_over_unix(std::string_view socket, std::string_view export_name) {
  return fmt::format("nbd+unix:///{}?socket={}", escape(export_name), escape(socket));
}

}  // namespace hull::config
